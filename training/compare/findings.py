"""From the numbers of all runs to what came out: means, spreads, and each claim with its verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, stdev

from scipy.stats import t as student

from napari_softseg.training.compare.variants import Claim, Variant

Scores = Mapping[str, Mapping[int, float]]
"""Mean IoU in % by variant and seed."""


class Verdict(StrEnum):
    """Whether a claim came out; noise is what seeds differ by."""

    YES = "yes"
    WITHIN_NOISE = "yes, within noise"
    NOT_WITHIN_NOISE = "no, within noise"
    NO = "no"
    ONE_SEED = "yes, one seed"
    NOT_ONE_SEED = "no, one seed"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Summary:
    """The scores of one variant."""

    mean: float
    """NaN where there are none."""
    spread: float
    """Standard deviation over seeds; NaN of fewer than two."""
    lowest: float
    highest: float
    count: int


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim beside the numbers."""

    claim: Claim
    verdict: Verdict
    difference: float
    """Points by which it came out (negative: did not), mean over seeds; NaN if it was not run."""
    error: float
    """Standard error of that mean; NaN of fewer than two seeds."""
    seeds: int
    paper: float | None
    """The same difference from the paper's numbers."""
    missing: tuple[str, ...]
    """Variants without a result."""


def summarised(scores: Mapping[int, float]) -> Summary:
    """Return mean and spread of the scores of a variant."""
    values = list(scores.values())
    if not values:
        return Summary(math.nan, math.nan, math.nan, math.nan, 0)
    spread = stdev(values) if len(values) > 1 else math.nan
    return Summary(fmean(values), spread, min(values), max(values), len(values))


def judged(claim: Claim, scores: Scores, variants: Sequence[Variant]) -> Finding:
    """Return what the scores say of a claim.

    Runs of the same seed are compared with each other: they share their start, crops and order. A
    difference counts as above noise where the 95 % interval of its mean (Student's t) leaves out zero.
    """
    names = (*claim.better, *claim.worse)
    missing = tuple(name for name in names if not scores.get(name))
    seeds = sorted(set.intersection(*(set(scores.get(name, {})) for name in names)))
    differences = [
        _difference(claim, {name: scores[name][seed] for name in names}) for seed in seeds if not missing
    ]
    papers = {variant.name: variant.paper for variant in variants if variant.paper is not None}
    paper = _difference(claim, papers) if all(name in papers for name in names) else None
    count = len(differences)
    mean = fmean(differences) if count else math.nan
    error = stdev(differences) / math.sqrt(count) if count > 1 else math.nan
    return Finding(claim, _verdict(mean, error, count), mean, error, count, paper, missing)


def _difference(claim: Claim, scores: Mapping[str, float]) -> float:
    better = fmean(scores[name] for name in claim.better)
    worse = fmean(scores[name] for name in claim.worse)
    return better - claim.factor * worse - claim.margin


def _verdict(mean: float, error: float, count: int) -> Verdict:
    if count == 0:
        return Verdict.NOT_RUN
    if count == 1:
        return Verdict.ONE_SEED if mean >= 0 else Verdict.NOT_ONE_SEED
    clear = abs(mean) > float(student.ppf(0.975, count - 1)) * error
    if mean >= 0:
        return Verdict.YES if clear else Verdict.WITHIN_NOISE
    return Verdict.NO if clear else Verdict.NOT_WITHIN_NOISE
