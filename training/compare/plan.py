"""What a comparison consists of: its runs, and the first stages that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_softseg.training.compare.variants import Variant
from napari_softseg.training.options import SECOND_STAGE, Loss, TrainOptions, train_options
from napari_softseg.training.report.run_log import CONFIG, read_run
from napari_softseg.training.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run, and where."""

    train: Path
    val: Path
    out: Path
    variants: Sequence[Variant]
    seeds: Sequence[int]
    settings: dict[str, Any]
    """Options of all runs; those of a variant win."""

    @property
    def runs(self) -> list[PlannedRun]:
        """Every variant with the first seed, then with the second: an early look sees all variants."""
        return [self.run(variant, seed) for seed in self.seeds for variant in self.variants]

    def run(self, variant: Variant, seed: int) -> PlannedRun:
        """Return one run, of the plan or not."""
        chosen = {**self.settings, **variant.options, "seed": seed}
        run = PlannedRun(self.out / f"{variant.name}_seed{seed}", chosen, variant, seed)
        options = run.options
        # without a second stage there is one schedule for all epochs, which --restart makes another one
        if options.loss == Loss.FULL or (options.loss == Loss.PCE and options.restart):
            return run
        shared = {name: value for name, value in variant.options.items() if name not in SECOND_STAGE}
        name = "_".join(["first_stage", *(f"{key}{value}" for key, value in shared.items()), f"seed{seed}"])
        first = FirstStage(self.out / name, {**self.settings, **shared, "loss": Loss.SELF, "seed": seed})
        return replace(run, first_stage=first) if first.epochs else run


@dataclass(frozen=True, slots=True)
class FirstStage:
    """What runs have in common that differ in their second stage only: trained once."""

    folder: Path
    chosen: dict[str, Any]

    @property
    def options(self) -> TrainOptions:
        """All options."""
        return train_options(**self.chosen)

    @property
    def epochs(self) -> int:
        """After which it ends."""
        return Schedule(self.options, n_images=1).warmup_epochs

    @property
    def done(self) -> bool:
        """Whether it has been trained."""
        return (self.folder / CONFIG).exists() and any(
            epoch.number == self.epochs for epoch in read_run(self.folder).epochs
        )


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """One network to train."""

    folder: Path
    chosen: dict[str, Any]
    """Options that are not the preset's."""
    variant: Variant
    seed: int
    first_stage: FirstStage | None = None
    """Where it begins; None: from the start."""

    @property
    def options(self) -> TrainOptions:
        """All options."""
        return train_options(**self.chosen)
