"""The files that a solved or predicted image, or a volume, becomes."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_softseg.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_softseg.solver.solution import Solution


@dataclass(frozen=True, slots=True)
class ResultFiles:
    """Where the results go."""

    labels: Path
    soft: Path
    overlay: Path | None
    """None for a volume."""

    @classmethod
    def of(cls, prefix: str, *, volume: bool = False) -> ResultFiles:
        """Return ``PREFIX_labels.png``, ``PREFIX_soft.tif`` and ``PREFIX_overlay.png``.

        A volume gets ``PREFIX_labels.tif`` and ``PREFIX_soft.tif``.

        Raises
        ------
        InputError
            If `prefix` names a folder only.
        """
        if prefix.endswith(("/", "\\")) or Path(prefix).is_dir():
            raise InputError(
                f"Output {prefix!r} is a folder; add the start of a file name, such as {Path(prefix, 'photo')}."
            )
        soft = Path(f"{prefix}_soft.tif")
        if volume:
            return cls(Path(f"{prefix}_labels.tif"), soft, None)
        return cls(Path(f"{prefix}_labels.png"), soft, Path(f"{prefix}_overlay.png"))

    @property
    def named(self) -> dict[str, Path]:
        """The paths by what they hold."""
        paths = {"labels": self.labels, "soft": self.soft, "overlay": self.overlay}
        return {name: path for name, path in paths.items() if path is not None}

    def check(self, inputs: Sequence[Path] = ()) -> None:
        """Raise InputError if they cannot be written, or would overwrite one of `inputs`."""
        from napari_softseg.saving import check_outputs

        check_outputs(list(self.named.values()), inputs)


def write_results(
    files: ResultFiles,
    image: npt.NDArray[Any],
    solution: Solution,
    names: Mapping[int, str],
    options: Mapping[str, Any],
    stop: threading.Event | None = None,
) -> None:
    """Write all files, or none.

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
    write_arrays(
        files.named,
        image,
        solution.labels,
        solution.probabilities,
        {value: names[value] for value in solution.classes},
        {"energy": solution.energy, "status": solution.status.name.lower(), "options": dict(options)},
        stop,
    )


def write_arrays(
    paths: Mapping[str, Path],
    image: npt.NDArray[Any],
    labels: npt.NDArray[np.uint8],
    probabilities: npt.NDArray[np.float32],
    classes: Mapping[int, str],
    extra: Mapping[str, Any],
    stop: threading.Event | None = None,
) -> None:
    """Write what `paths` names of ``labels``, ``soft`` and ``overlay``, all or none.

    Parameters
    ----------
    paths
        Where to, by what they hold.
    image
        (H, W) or (H, W, C), for the overlay.
    labels
        (H, W) or (D, H, W) class values.
    probabilities
        (K, H, W) or (K, D, H, W).
    classes
        The K class values in channel order, each with its name.
    extra
        More metadata.
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
    from napari_softseg.saving import replacing, write_labels_tiff, write_png, write_soft_tiff

    with replacing(*paths.values()) as temporaries:
        for name, path in zip(paths, temporaries, strict=True):
            if name == "soft":
                write_soft_tiff(path, probabilities, classes, extra)
            elif name == "overlay":
                write_png(path, overlay(image, probabilities, [class_color(value) for value in classes]))
            elif labels.ndim == 2:
                write_png(path, labels)
            else:
                write_labels_tiff(path, labels)
        if stop is not None and stop.is_set():
            raise KeyboardInterrupt
