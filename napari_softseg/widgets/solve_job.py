"""One solve of one plane, as plain data in and plain data out: what the worker thread runs."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_softseg.colors import class_color, soft_composite
from napari_softseg.options import SolveOptions
from napari_softseg.solver.solution import Solution, SolveProgress
from napari_softseg.widgets.classes import Rgb
from napari_softseg.widgets.planes import Plane
from napari_softseg.widgets.worker_threads import apply_threads

if TYPE_CHECKING:
    from napari_softseg.training.first_guess import NetworkUnary

_THREAD = threading.local()
"""Every worker thread remembers its last solve."""


class View(StrEnum):
    """What the results show; the value is what people read."""

    SOFT = "soft colours"
    LIKELY = "most likely class"
    UNCERTAINTY = "uncertainty"


@dataclass(frozen=True, slots=True)
class Look:
    """How probabilities become colours."""

    colors: tuple[tuple[int, Rgb], ...]
    """(class value, RGB) pairs."""
    hard: bool
    """Whether every pixel takes its most likely class's colour, unmixed."""


@dataclass(frozen=True, slots=True, eq=False)
class SolveJob:
    """Everything one solve needs; the arrays are copies that nobody else writes to."""

    image_id: str
    """Which image layer it is for."""
    plane: Plane
    pixels: npt.NDArray[Any]
    """(H, W) or (H, W, C), the image's plane."""
    strokes: npt.NDArray[np.integer]
    """(H, W) class values, 0 where unpainted."""
    options: SolveOptions
    look: Look
    model: "NetworkUnary | None" = None
    """A trained network in place of the pixel classifier: then strokes of one class or none are enough."""
    known_unary: npt.NDArray[np.float32] | None = None
    """(K, H, W) sigma of an earlier solve of the same strokes: saves fitting the classifier again."""
    known_solution: Solution | None = None
    """Solution of an earlier solve of all the same: only the colours are new."""


@dataclass(frozen=True, slots=True, eq=False)
class SolveResult:
    """What a job yields, ready to be written into the layers."""

    job: SolveJob
    solution: Solution
    composite: npt.NDArray[np.uint8]
    """(H, W, 4) RGBA."""
    entropy: npt.NDArray[np.float32]
    """(H, W) in 0..1."""


def run_job(job: SolveJob, stop: threading.Event, progress: Callable[[SolveProgress], None]) -> SolveResult:
    """Solve and colour; slow, so it belongs in a worker thread.

    Raises
    ------
    InputError
        If the solver cannot use the pixels, the strokes or the options.
    """
    apply_threads()
    solution = job.known_solution or _solve(job, stop, progress)
    probabilities = solution.probabilities
    if job.look.hard:
        best = probabilities.argmax(axis=0)
        probabilities = (best == np.arange(len(solution.classes))[:, None, None]).astype(np.float32)
    colors = dict(job.look.colors)
    # a class may have been removed since its strokes were solved: it keeps its default colour
    table = np.array([colors.get(v, class_color(v)) for v in solution.classes], dtype=np.uint8)
    return SolveResult(job, solution, soft_composite(probabilities, table), solution.entropy)


def _solve(job: SolveJob, stop: threading.Event, progress: Callable[[SolveProgress], None]) -> Solution:
    # Imported here: torch takes seconds the first time, and this is not the GUI's thread.
    from napari_softseg import solve
    from napari_softseg.solver.incremental import IncrementalSolver

    memory = _THREAD.memory = getattr(_THREAD, "memory", None) or IncrementalSolver()
    options = {spec.name: getattr(job.options, spec.name) for spec in fields(job.options)}
    model = job.model
    if model is not None:
        options["classes"] = model.values
        options["unary"] = lambda pixels, _classes: model.guess(
            pixels, job.strokes, device=job.options.device, stop=stop
        )
    if job.known_unary is not None:
        options["unary"] = job.known_unary
    return solve(job.pixels, job.strokes, stop=stop, memory=memory, progress=progress, **options)


def warm_up() -> list[str]:
    """Load imports before the first stroke, and have the solver compiled; return the devices there are.

    Called in the worker thread; compiling has its own, and strokes are solved meanwhile.
    """
    import torch

    from napari_softseg import solve
    from napari_softseg.solver.kernels import numba_sweep

    numba_sweep.prepare()
    apply_threads()
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:, 8:] = 255
    strokes = np.zeros((16, 16), dtype=np.uint8)
    strokes[4:12, 2], strokes[4:12, 13] = 1, 2
    solve(pixels, strokes)
    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    return ["auto", "cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]
