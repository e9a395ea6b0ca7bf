"""What all runs came to, as plain data: one row a run, one a variant, one a claim."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

from napari_softseg import __version__
from napari_softseg.training.compare.findings import Finding, Summary, judged, summarised
from napari_softseg.training.compare.plan import Plan
from napari_softseg.training.compare.runs import Outcome
from napari_softseg.training.compare.variants import CLAIMS, VARIANTS, Variant
from napari_softseg.training.options import as_json, train_options


@dataclass(frozen=True, slots=True)
class VariantResult:
    """The runs of one variant together."""

    variant: Variant
    last: Summary
    """Mean IoU in % after the last epoch: what is compared."""
    best: Summary
    """... after the epoch that was best on the same images: optimistic."""
    pixel_accuracy: float
    """In %, after the last epoch, mean over seeds."""
    seconds: float
    """Per run, mean over seeds."""


@dataclass(frozen=True, slots=True)
class Results:
    """Everything the tables are made of."""

    plan: Plan
    schedule: str
    command: str
    jobs: int
    outcomes: Sequence[Outcome]
    variants: list[VariantResult]
    findings: list[Finding]
    date: str
    machine: str
    versions: dict[str, str]

    @property
    def devices(self) -> list[str]:
        """What the runs ran on."""
        return sorted({outcome.log.device for outcome in self.outcomes if outcome.log and outcome.log.device})

    @property
    def settings(self) -> dict[str, Any]:
        """All options that the runs share, the preset's included."""
        differing = {"seed"}.union(*(result.variant.options for result in self.variants))
        options = as_json(train_options(**self.plan.settings))
        return {name: value for name, value in options.items() if name not in differing}


def collected(plan: Plan, outcomes: Sequence[Outcome], *, schedule: str, command: str, jobs: int) -> Results:
    """Return the results of the runs of a plan."""
    scores: dict[str, dict[int, float]] = {variant.name: {} for variant in plan.variants}
    results = []
    for variant in plan.variants:
        scored = [one for one in outcomes if one.run.variant.name == variant.name and one.scored]
        scores[variant.name] = {one.run.seed: miou(one, "last") for one in scored}
        best = {one.run.seed: miou(one, "best") for one in scored}
        accuracies = [
            100 * one.log.last.val.pixel_accuracy
            for one in scored
            if one.log and one.log.last and one.log.last.val
        ]
        seconds = [one.log.seconds for one in scored if one.log]
        results.append(
            VariantResult(
                variant,
                summarised(scores[variant.name]),
                summarised(best),
                fmean(accuracies) if accuracies else math.nan,
                fmean(seconds) if seconds else math.nan,
            )
        )
    return Results(
        plan,
        schedule,
        command,
        jobs,
        outcomes,
        results,
        [judged(claim, scores, VARIANTS) for claim in CLAIMS],
        datetime.now().astimezone().strftime("%Y-%m-%d"),
        machine(),
        {
            "napari-softseg": __version__,
            "torch": version("torch"),
            "torchvision": version("torchvision"),
            "Python": platform.python_version(),
        },
    )


def miou(outcome: Outcome, which: str) -> float:
    """Return the mean IoU in % of the "last" or "best" epoch of a run; NaN if it has none."""
    epoch = None if outcome.log is None else getattr(outcome.log, which)
    return math.nan if epoch is None or epoch.val is None else 100 * float(epoch.val.miou)


def machine() -> str:
    """Return the processor, and how many of its cores can be used."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cores} cores, {platform.system()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
