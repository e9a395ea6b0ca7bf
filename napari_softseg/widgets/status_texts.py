"""The one line under the buttons: what to do next, what runs, how it went."""

from napari.layers import Image

from napari_softseg.errors import InputError
from napari_softseg.solver.solution import Solution, SolveProgress, Status
from napari_softseg.widgets.planes import Plane, require_plane_image
from napari_softseg.widgets.solve_job import SolveJob

PRESS_SOLVE = "Something changed since the last solve: press Solve."

STOPPED_EARLY = "Stopped before there was a result: press Solve, or paint on."


def how_to_start(image: Image | None) -> str:
    """Return what to do before there are scribbles."""
    if image is None:
        return "Open an image, or File > Open Sample > Soft Segmentation."
    try:
        require_plane_image(image)
    except InputError as error:
        return str(error)
    return f"Press Start to paint on {image.name!r}."


def stroke_hint(painted: int, classes: int, plane: Plane) -> str:
    """Return what to do before two classes have strokes."""
    where = f"{plane.text}: " if plane.text else ""
    if not painted:
        return f"{where}Paint a stroke of each class."
    return f"{where}{painted} of {classes} classes: paint a stroke of another one."


def progress_text(progress: SolveProgress) -> str:
    """Return what the worker does now."""
    if progress.stage == "weights":
        return "Loading the first guess's network, a download the first time…"
    if progress.stage == "unary":
        return "Learning from the strokes…"
    energy = "" if progress.energy is None else f", E {_short(progress.energy)}"
    return f"Solving: sweep {progress.step}{energy}…"


def result_text(solution: Solution, job: SolveJob) -> str:
    """Return how a solve went, such as ``"38 ms, cpu, CD, E 1.2e4"``."""
    parts = [
        job.plane.text,
        _duration(solution.seconds),
        solution.device,
        job.options.relaxation.upper(),
        f"E {_short(solution.energy)}",
    ]
    text = ", ".join(part for part in parts if part)
    return (
        text
        if solution.status in (Status.CONVERGED, Status.COMPLETED)
        else f"{text} ({solution.status.value})"
    )


def energy_and_time(solution: Solution) -> str:
    """Return how a solve went, such as ``"energy 12345, 38 ms"``."""
    return f"energy {solution.energy:.5g}, {_duration(solution.seconds)}"


def error_text(error: Exception) -> str:
    """Return the error for the status line; what is no InputError is shown in full elsewhere."""
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _short(number: float) -> str:
    """Write 12345.6 as 1.2e4."""
    mantissa, exponent = f"{number:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"
