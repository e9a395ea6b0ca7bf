"""The three files that a solved image becomes."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_softseg.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_softseg.solver.solution import Solution


@dataclass(frozen=True, slots=True)
class ResultFiles:
    """Where the results go."""

    labels: Path
    soft: Path
    overlay: Path

    @classmethod
    def of(cls, prefix: str) -> ResultFiles:
        """Return ``PREFIX_labels.png``, ``PREFIX_soft.tif`` and ``PREFIX_overlay.png``.

        Raises
        ------
        InputError
            If `prefix` names a folder only.
        """
        if prefix.endswith(("/", "\\")) or Path(prefix).is_dir():
            raise InputError(
                f"Output {prefix!r} is a folder; add the start of a file name, such as {prefix}/photo."
            )
        return cls(Path(f"{prefix}_labels.png"), Path(f"{prefix}_soft.tif"), Path(f"{prefix}_overlay.png"))

    @property
    def all(self) -> tuple[Path, Path, Path]:
        """The three paths."""
        return self.labels, self.soft, self.overlay

    def check(self, inputs: Sequence[Path] = ()) -> None:
        """Raise InputError if they cannot be written, or would overwrite one of `inputs`."""
        from napari_softseg.saving import check_outputs

        check_outputs(self.all, inputs)


def write_results(
    files: ResultFiles,
    image: npt.NDArray[Any],
    solution: Solution,
    names: Mapping[int, str],
    options: Mapping[str, Any],
    stop: threading.Event | None = None,
) -> None:
    """Write all three files, or none.

    Parameters
    ----------
    files
        Where to.
    image
        (H, W) or (H, W, C), for the overlay.
    solution
        What was solved.
    names
        Name of every class of `solution`.
    options
        Options of the solve, for the metadata.
    stop
        If it is set by the time everything is ready, nothing is written.

    Raises
    ------
    KeyboardInterrupt
        If `stop` was set.
    OSError
        If the files cannot be written.
    """
    from napari_softseg.colors import class_color, overlay
    from napari_softseg.saving import replacing, write_png, write_soft_tiff

    colors = [class_color(value) for value in solution.classes]
    with replacing(*files.all) as (labels, soft, picture):
        write_png(labels, solution.labels)
        write_soft_tiff(
            soft,
            solution.probabilities,
            {value: names[value] for value in solution.classes},
            {"energy": solution.energy, "status": solution.status.name.lower(), "options": dict(options)},
        )
        write_png(picture, overlay(image, solution.probabilities, colors))
        if stop is not None and stop.is_set():
            raise KeyboardInterrupt
