"""Images larger than memory: solved block by block into an OME-Zarr group.

Blocks overlap by a halo, in which the answer forgets that the image was cut; docs/large-images.md shows how
fast. One classifier, fitted on the strokes of the whole image, carries what the strokes say to every block.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_softseg import __version__
from napari_softseg.blocks.block import BlockJob, UnarySource
from napari_softseg.blocks.pool import open_pool
from napari_softseg.blocks.pyramid import iter_pyramid
from napari_softseg.blocks.source import Plane, as_plane
from napari_softseg.blocks.store import LABELS, SCALE, SOFT, SWEEP_LIMIT, UNDONE, BlockStore, open_store
from napari_softseg.blocks.survey import Inputs, Survey, iter_fit, iter_survey
from napari_softseg.blocks.tiling import (
    DEFAULT_HALO,
    DEFAULT_MEMORY,
    Tiling,
    bytes_per_pixel,
    check_chunks,
    checked_side,
    chosen_block,
    parsed_memory,
)
from napari_softseg.errors import InputError
from napari_softseg.options import Neighborhood, SolveOptions, Unary
from napari_softseg.solver.api import UnaryModel, check_method, iter_pretrained
from napari_softseg.solver.device import resolve_device
from napari_softseg.solver.solution import SolveProgress, Status, drain
from napari_softseg.unary.classifier import ALIGNMENT, grid_step

_FIRST_GUESS = 2
"""Counts up when the same strokes come to another first guess: a run must not go on with it."""


@dataclass(frozen=True, slots=True)
class BlockSolution:
    """Soft pseudo-labels of a large image, on disk."""

    path: Path
    """Folder of the OME-Zarr group."""
    classes: tuple[int, ...]
    """The K class values as in the scribbles, ascending."""
    size: tuple[int, int]
    """Rows and columns."""
    block: int
    """Side of the blocks."""
    halo: int
    """Width of their halo."""
    blocks: int
    """Number of blocks of the image."""
    done: int
    """How many of them are on disk."""
    solved: int
    """How many of them this run solved; the others were there."""
    seconds: float
    """Wall time of this run."""
    status: Status
    """How it ended: converged where all blocks did."""

    @property
    def soft(self) -> Any:
        """Zarr array (K, H, W) uint8: 255 times the probabilities."""
        return BlockStore(self.path, self.classes).array(SOFT)

    @property
    def labels(self) -> Any:
        """Zarr array (H, W) uint8: the most likely class value at every pixel."""
        return BlockStore(self.path, self.classes).array(LABELS)

    def probabilities(self, rows: slice, columns: slice) -> npt.NDArray[np.float32]:
        """Return the (K, h, w) float32 distributions of a window, summing to 1."""
        soft = np.asarray(self.soft[:, rows, columns], dtype=np.float32) / SCALE
        result: npt.NDArray[np.float32] = soft / soft.sum(axis=0)
        return result


def solve_blocks(
    image: Any,
    scribbles: Any,
    out: str | Path,
    *,
    progress: Callable[[SolveProgress], None] | None = None,
    **arguments: Any,
) -> BlockSolution:
    """Solve an image of any size, block by block, to an OME-Zarr group on disk.

    Run again with the same input it goes on where it was interrupted.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array
        NumPy, mapped file, dask or zarr; or a :class:`~napari_softseg.blocks.source.Plane`, which
        ``open_image(path)`` gives.
    scribbles : (H, W) array of ints
        As for :func:`napari_softseg.solve`.
    out : path
        Folder of the group, usually ``NAME.zarr``.
    progress : callable, optional
        Called with every :class:`~napari_softseg.solver.solution.SolveProgress`: bands of
        the image looked at (stage ``"survey"``), patches with strokes (``"unary"``), blocks (``"solve"``),
        coarser copies of the result (``"pyramid"``).
    **arguments
        Those of :func:`iter_solve_blocks`.

    Returns
    -------
    BlockSolution

    Raises
    ------
    InputError
        A ValueError whose message names the value and the way out.
    """
    return drain(iter_solve_blocks(image, scribbles, out, **arguments), progress)


def iter_solve_blocks(
    image: Any,
    scribbles: Any,
    out: str | Path,
    *,
    block: int | None = None,
    halo: int = DEFAULT_HALO,
    memory: str | float = DEFAULT_MEMORY,
    workers: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
    unary: str | UnaryModel | Any = Unary.CLASSIFIER,
    mask: Any = None,
    classes: Sequence[int] | None = None,
    class_names: Callable[[tuple[int, ...]], Mapping[int, str]] | None = None,
    stop: threading.Event | None = None,
    **options: Any,
) -> Generator[SolveProgress, None, BlockSolution]:
    """Do what :func:`solve_blocks` does as a generator: yields progress, returns the solution.

    Parameters
    ----------
    image, scribbles, out
        See :func:`solve_blocks`.
    block : int, optional
        Side of a block; by default the largest that `memory` holds.
    halo : int
        Pixels around a block that are solved with it and thrown away.
    memory : str or number
        Most memory of this process (with a scheduler: of each of its workers), such as ``"4 GB"``, or
        in bytes. The formula is in :mod:`napari_softseg.blocks.tiling`.
    workers : int, optional
        Blocks solved at a time. Default: 1, because one block uses all cores; with a scheduler as many
        as it has threads.
    scheduler : str, optional
        Address of a dask scheduler, ``tcp://host:port``, whose workers see the same files.
    overwrite : bool
        Start over where the result of another run is in the way.
    unary : str, (K, H, W) array or callable
        As for :func:`napari_softseg.solve`; a callable gets the pixels of a block. ``"none"`` is refused.
        ``"pretrained"`` sees in a block what it sees in the whole image, up to the halo.
    mask : (H, W) array, optional
        Non-zero on the pixels to use.
    classes : sequence of int, optional
        All class values in ascending order, when there are more than the strokes show.
    class_names : callable, optional
        Called with the class values, returns their names for the metadata.
    stop : threading.Event, optional
        Set it to end early while blocks are solved; finished blocks stay. (Before and after, close the
        generator: nothing is half done.)
    **options
        The fields of :class:`~napari_softseg.options.SolveOptions` other than `unary`.
    """
    began = time.perf_counter()
    if isinstance(unary, str):
        options["unary"] = unary
    chosen = SolveOptions(**options)
    check_method(chosen)
    resolve_device(chosen.device)
    _check_local(chosen, isinstance(unary, str) and chosen.unary == Unary.NONE)
    halo = checked_side("halo", halo, 0)
    side = None if block is None else checked_side("block", block, ALIGNMENT)
    bound = parsed_memory(memory)
    if workers is not None and workers < 1:
        raise InputError(f"Expected at least one worker, but got {workers}.")
    inputs = Inputs(
        as_plane(image), as_plane(scribbles), None if mask is None else as_plane(mask), chosen.unlabelled
    )
    check_chunks(inputs.image.chunk_bytes, bound, workers or 1)
    size = inputs.image.size
    step = grid_step(*size)
    survey = yield from iter_survey(inputs, step, classes)
    names = (class_names or _numbered)(survey.classes)
    n_classes = len(survey.classes)
    given = None if isinstance(unary, str) else unary if callable(unary) else as_plane(unary, "cyx")
    if isinstance(given, Plane) and (given.channels, *given.size) != (n_classes, *size):
        raise InputError(
            f"Expected a unary of shape (K, H, W) = {(n_classes, *size)}, "
            f"but got {(given.channels, *given.size)}."
        )
    network = (
        (yield from iter_pretrained(chosen, inputs.image.channels or 1, stop)) if given is None else None
    )

    with open_pool(scheduler, workers) as pool:
        per_pixel = bytes_per_pixel(
            n_classes,
            inputs.image.channels or 1,
            chosen.neighborhood,
            pretrained=given is None and chosen.unary == Unary.PRETRAINED,
        )
        side = chosen_block(side, halo, bound, pool.per_process, per_pixel, size)
        tiling = Tiling(size, side)
        store = open_store(
            Path(out),
            tiling,
            names,
            _identity(inputs, survey, chosen, given, halo),
            inputs.image.spacing,
            inputs.image.unit,
            overwrite,
        )
        ended = store.done()
        todo = [place for place in tiling.places() if ended[place] == UNDONE]
        total, before = ended.size, ended.size - len(todo)
        if todo and not (stop and stop.is_set()):
            source: UnarySource
            source, near = (
                (yield from iter_fit(inputs, survey, step, tiling, halo, network))
                if given is None
                else (given, None)
            )
            job = BlockJob(inputs, source, step, survey.rule, tiling, halo, chosen, store, network, near)
            for finished in pool.run(job, todo, stop):
                yield SolveProgress("solve", before + finished, total)
    ended = store.done()
    done = int((ended != UNDONE).sum())
    if done == total:
        yield from iter_pyramid(store, size)
    limited = bool((ended == SWEEP_LIMIT).any())
    return BlockSolution(
        path=store.path,
        classes=survey.classes,
        size=size,
        block=side,
        halo=halo,
        blocks=total,
        done=done,
        solved=done - before,
        seconds=time.perf_counter() - began,
        status=Status.STOPPED if done < total else Status.MAX_SWEEPS if limited else Status.CONVERGED,
    )


def _check_local(chosen: SolveOptions, unary_none: bool) -> None:
    """Raise InputError where the answer in one block hangs on strokes or pixels far beyond its halo."""
    if unary_none or chosen.eta == 0:
        raise InputError(
            "Blocks need a first guess: without one (unary none, or eta 0) labels spread from stroke to stroke "
            "across the whole image, which no block sees; take unary classifier, pretrained or your own."
        )
    if chosen.neighborhood == Neighborhood.DN:
        raise InputError(
            "Neighborhood dn joins all pixels of the image, which no block sees; choose grid4, grid8 or sn."
        )


def _numbered(classes: tuple[int, ...]) -> dict[int, str]:
    return {value: f"class {value}" for value in classes}


def _identity(
    inputs: Inputs, survey: Survey, chosen: SolveOptions, given: UnarySource | None, halo: int
) -> dict[str, Any]:
    """Return all that decides the result, besides blocks and classes, as flat JSON values."""
    options = {name: value for name, value in asdict(chosen).items() if name not in ("device", "weights")}
    if given is not None:
        # its values are not looked at; whoever changes them starts over
        options["unary"] = "array" if isinstance(given, Plane) else "callable"
    else:
        options["first_guess"] = _FIRST_GUESS
    if given is None and chosen.unary == Unary.PRETRAINED and Path(chosen.weights).is_file():
        options["weights"] = hashlib.sha256(Path(chosen.weights).read_bytes()).hexdigest()
    shape, dtype = list(inputs.image.shape), str(inputs.image.dtype)
    return {"program": __version__, "shape": shape, "dtype": dtype, "halo": halo} | options | survey.hashes
