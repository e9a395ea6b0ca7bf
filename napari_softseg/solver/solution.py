"""What a solve returns, and what it reports on the way."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

import numpy as np
import numpy.typing as npt

_Result = TypeVar("_Result")
_Progress = TypeVar("_Progress")


class Status(Enum):
    """How a solve ended; the value is a sentence for people."""

    CONVERGED = "converged"
    MAX_SWEEPS = "stopped at the sweep limit; raise max_sweeps for a lower energy"
    COMPLETED = "all steps done"
    STOPPED = "stopped on request; the result is a partial one"


@dataclass(frozen=True, slots=True)
class EnergyTerms:
    """The two terms of the energy, weighted: ``eta * sum H`` and ``lambda * sum w P``."""

    unary: float
    pairwise: float

    @property
    def total(self) -> float:
        """The energy E(y)."""
        return self.unary + self.pairwise


@dataclass(frozen=True, slots=True)
class SolveProgress:
    """One report of a running solve."""

    stage: str
    """``"unary"`` or ``"solve"``; before them ``"weights"`` where a pretrained network is loaded.

    An image solved by blocks begins with ``"survey"``, ends with ``"pyramid"``.
    """
    step: int
    """Sweeps done so far in this stage."""
    max_steps: int
    """Most sweeps this stage can take; it may end sooner."""
    energy: float | None = None
    """Energy at this step in float64, where it is known."""


@dataclass(frozen=True, slots=True)
class Solution:
    """Soft pseudo-labels of one image."""

    probabilities: npt.NDArray[np.float32]
    """(K, H, W) float32, a distribution over the classes at every pixel; exactly one-hot on strokes."""
    classes: tuple[int, ...]
    """The K class values as in the scribbles, ascending; channel k belongs to ``classes[k]``."""
    terms: EnergyTerms
    """Weighted energy terms in float64."""
    sweeps: int
    """Sweeps on the full-size grid (mm), steps (gd) or iterations (closed form)."""
    seconds: float
    """Wall time of the whole solve, unary included."""
    device: str
    """Device that solved, such as ``"cpu"`` or ``"cuda:0"``."""
    status: Status
    """How it ended."""
    unary: npt.NDArray[np.float32] | None = None
    """(K, H, W) float32, the sigma that was used; None when there was none."""

    @property
    def energy(self) -> float:
        """E(y) = eta * sum H(y, sigma) + lambda * sum w P(y_i, y_j), in float64."""
        return self.terms.total

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """(H, W) uint8, the most likely class value at every pixel."""
        values: npt.NDArray[np.uint8] = np.asarray(self.classes, dtype=np.uint8)[
            self.probabilities.argmax(axis=0)
        ]
        return values

    @property
    def entropy(self) -> npt.NDArray[np.float32]:
        """(H, W) float32 in 0..1: uncertainty, entropy over ln K."""
        p = self.probabilities
        safe = np.maximum(p, np.finfo(np.float32).tiny)
        result: npt.NDArray[np.float32] = -(p * np.log(safe)).sum(axis=0) / np.float32(
            np.log(len(self.classes))
        )
        return np.clip(result, 0, 1)


def drain(
    run: Generator[_Progress, None, _Result], report: Callable[[_Progress], None] | None = None
) -> _Result:
    """Run a generator to its end, pass what it yields to `report`, and return its result."""
    while True:
        try:
            progress = next(run)
        except StopIteration as end:
            result: _Result = end.value
            return result
        if report is not None:
            report(progress)
