"""What is compared, under which schedule, and what the paper found: lists, without torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from napari_softseg.errors import InputError
from napari_softseg.options import Choice, CrossEntropy, Neighborhood, Relaxation
from napari_softseg.training.options import HardLabels, Loss, Preset


class ScheduleName(Choice):
    """How long every run trains."""

    TINY = "tiny", "two epochs on images of 64 pixels: whether all of it works"
    REDUCED = "reduced", "30 epochs on images of 240 pixels: ten minutes a run on two cores"
    FULL = "full", "the paper's: 60 epochs of either stage at full size; wants a GPU"


SCHEDULES: dict[ScheduleName, dict[str, Any]] = {
    ScheduleName.TINY: {
        "preset": Preset.BALANCED,
        "epochs": 2,
        "samples": 1,
        "batch": 2,
        "resize": 64,
        "crop": 64,
        "sweeps": 3,
    },
    # the learning rate is the paper's for batches of 12, by the size of the batch
    ScheduleName.REDUCED: {
        "preset": Preset.BALANCED,
        "epochs": 30,
        "samples": 1,
        "batch": 5,
        "lr": 0.003,
        "resize": 240,
        "crop": 241,
        "scale_low": 0.75,
        "scale_high": 1.5,
        "sweeps": 10,
        "val_every": 5,
    },
    ScheduleName.FULL: {"preset": Preset.PAPER, "val_every": 5},
}
"""Options of every run of a schedule; all others are the preset's."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One thing to train, in any number of seeds."""

    name: str
    title: str
    options: dict[str, Any] = field(default_factory=dict)
    paper: float | None = None
    """The paper's mean IoU in %: VOC 2012, MobileNetV2, full length of strokes."""


_DENSE: dict[str, Any] = {"neighborhood": Neighborhood.DN, "bandwidth": 15.0, "reach": 100.0}
LENGTHS = (0.0, 0.3, 0.5, 0.8)
"""Shares of the strokes' length below the whole of it (figure 6)."""
NOISES = (0.2, 0.5)
"""Shares of the pseudo-labels that are replaced by random ones (figure 3d)."""


def _soft(name: str, title: str, paper: float | None = None, **options: Any) -> Variant:
    defaults = {"loss": Loss.SELF, "relaxation": Relaxation.CD, "cross_entropy": CrossEntropy.CCE}
    return Variant(name, f"soft self-labelling, {title}", {**defaults, **options}, paper)


def _length(ratio: float) -> str:
    return f"{ratio:.0%} of every stroke" if ratio else "a point of every stroke"


VARIANTS = [
    Variant("full", "full supervision: complete masks", {"loss": Loss.FULL}, 72.1),
    Variant("pce", "strokes alone: partial cross-entropy", {"loss": Loss.PCE}),
    Variant(
        "gd-nn",
        "gradient descent, BL on the grid",
        {"loss": Loss.GD, "relaxation": Relaxation.BL, "neighborhood": Neighborhood.GRID4},
        67.0,
    ),
    Variant(
        "gd-dn",
        "gradient descent, BL on the dense neighbourhood",
        {"loss": Loss.GD, "relaxation": Relaxation.BL, **_DENSE},
        69.5,
    ),
    Variant("gd-cd", "gradient descent, CD on the grid", {"loss": Loss.GD, "relaxation": Relaxation.CD}),
    Variant("hard-argmax", "hard self-labelling, most likely class", {"loss": Loss.HARD}),
    Variant(
        "hard-cut",
        "hard self-labelling, discrete solver, 8 neighbours",
        {"loss": Loss.HARD, "hard_labels": HardLabels.CUT, "neighborhood": Neighborhood.GRID8},
        69.8,
    ),
    *(
        _soft(f"soft-{relaxation}", f"{relaxation.upper()} + CCE", paper, relaxation=relaxation)
        for relaxation, paper in (
            (Relaxation.BL, 67.2),
            (Relaxation.NQ, 71.1),
            (Relaxation.Q, 71.1),
            (Relaxation.CCE, 67.4),
            (Relaxation.LQ, 71.2),
            (Relaxation.CD, 71.2),
        )
    ),
    *(
        _soft(f"soft-cd-{entropy}", f"CD + {entropy.upper()}", cross_entropy=entropy)
        for entropy in (CrossEntropy.CE, CrossEntropy.RCE)
    ),
    *(
        _soft(f"soft-{relaxation}-dn", f"{relaxation.upper()} + CCE, dense", relaxation=relaxation, **_DENSE)
        for relaxation in (Relaxation.BL, Relaxation.Q)
    ),
    *(
        _soft(f"soft-cd-length{length:g}", f"CD + CCE, {_length(length)}", length_ratio=length)
        for length in LENGTHS
    ),
    *(
        Variant(
            f"pce-length{length:g}",
            f"strokes alone, {_length(length)}",
            {"loss": Loss.PCE, "length_ratio": length},
        )
        for length in LENGTHS
    ),
    *(
        _soft(
            f"noise{share:g}-{entropy}",
            f"CD + {entropy.upper()}, {share:.0%} of the labels random",
            cross_entropy=entropy,
            label_noise=share,
        )
        for share in NOISES
        for entropy in (CrossEntropy.CE, CrossEntropy.RCE, CrossEntropy.CCE)
    ),
]

SET_BY_VARIANTS = frozenset({"preset", "seed", "held_out"}).union(
    *(variant.options for variant in VARIANTS)
) - {
    "bandwidth",
    "reach",
}
"""Options that are not for the caller to choose."""


def chosen_variants(names: Iterable[str] | None) -> list[Variant]:
    """Return the variants named, in the order of the list; a name may be a pattern such as ``soft-*``.

    Raises
    ------
    InputError
        If a name fits none; the message lists them all.
    """
    if names is None:
        return VARIANTS
    wanted = [name.strip() for name in names]
    for name in wanted:
        if not any(fnmatchcase(variant.name, name) for variant in VARIANTS):
            known = ", ".join(variant.name for variant in VARIANTS)
            raise InputError(f"Unknown variant {name!r}; choose from: {known}.")
    return [variant for variant in VARIANTS if any(fnmatchcase(variant.name, name) for name in wanted)]


@dataclass(frozen=True, slots=True)
class Claim:
    """Something the paper found: the mean of some variants lies above that of others."""

    text: str
    better: tuple[str, ...]
    worse: tuple[str, ...]
    factor: float = 1.0
    """Of the worse that the better have to reach."""
    margin: float = 0.0
    """Points the better have to lie above it."""


CLAIMS = [
    Claim("Soft self-labelling beats strokes alone", ("soft-cd",), ("pce",)),
    Claim("... by 2 points", ("soft-cd",), ("pce",), margin=2.0),
    Claim("Soft self-labelling reaches 98.5 % of full supervision", ("soft-cd",), ("full",), factor=0.985),
    Claim("... and 99 % of it", ("soft-cd",), ("full",), factor=0.99),
    Claim("Soft labels beat hard ones (most likely class)", ("soft-cd",), ("hard-argmax",)),
    Claim("Soft labels beat hard ones (discrete solver)", ("soft-cd",), ("hard-cut",)),
    Claim("Hard labels beat gradient descent on the grid", ("hard-cut",), ("gd-nn",)),
    Claim("Self-labelling beats gradient descent on the same relaxation", ("soft-cd",), ("gd-cd",)),
    Claim("Soft labels on the grid beat gradient descent on dense", ("soft-cd",), ("gd-dn",)),
    Claim("Gradient descent: dense beats the grid", ("gd-dn",), ("gd-nn",)),
    Claim(
        "Relaxations Q, NQ, LQ, CD beat BL and CCE",
        ("soft-q", "soft-nq", "soft-lq", "soft-cd"),
        ("soft-bl", "soft-cce"),
    ),
    Claim("Cross-entropies: CCE beats RCE", ("soft-cd",), ("soft-cd-rce",)),
    Claim("Cross-entropies: RCE beats CE", ("soft-cd-rce",), ("soft-cd-ce",)),
    *(
        Claim(
            f"With wrong labels: {better.upper()} beats {worse.upper()}",
            tuple(f"noise{share:g}-{better}" for share in NOISES),
            tuple(f"noise{share:g}-{worse}" for share in NOISES),
        )
        for better, worse in (
            (CrossEntropy.CCE, CrossEntropy.RCE),
            (CrossEntropy.CCE, CrossEntropy.CE),
            (CrossEntropy.RCE, CrossEntropy.CE),
        )
    ),
    Claim(
        "On shortened strokes soft self-labelling beats strokes alone",
        tuple(f"soft-cd-length{length:g}" for length in LENGTHS),
        tuple(f"pce-length{length:g}" for length in LENGTHS),
    ),
]
