"""Coarser copies of a finished result, without which a viewer would load all of it to show any.

Each level halves the one before: soft labels by the mean of 2 x 2 pixels, labels by every second pixel.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from napari_softseg.blocks.store import LABEL_GROUP, BlockStore
from napari_softseg.blocks.tiling import CHUNK, Tiling
from napari_softseg.solver.solution import SolveProgress

_COARSEST = 1024
"""The last level's longer side is no longer than this."""

_WINDOW = 4 * CHUNK


def iter_pyramid(store: BlockStore, size: tuple[int, int]) -> Generator[SolveProgress, None, None]:
    """Write the coarser levels that the metadata do not list yet, then list them; yields progress."""
    levels = max(0, (max(size) - 1) // _COARSEST).bit_length()
    root = zarr.open_group(store.path, mode="r+")
    groups = [group for group in (root, root[LABEL_GROUP]) if len(_scales(group)["datasets"]) <= levels]
    steps = [(group, level) for group in groups for level in range(1, levels + 1)]
    for number, (group, level) in enumerate(steps):
        yield SolveProgress("pyramid", number, len(steps))
        _write_level(group, level)
        if level == levels:
            ome: Any = group.attrs["ome"]
            ome["multiscales"][0]["datasets"] = [_dataset(_scales(group), n) for n in range(levels + 1)]
            group.attrs["ome"] = ome


def _scales(group: Any) -> Any:
    return group.attrs["ome"]["multiscales"][0]


def _dataset(scales: Any, level: int) -> dict[str, Any]:
    scale = scales["datasets"][0]["coordinateTransformations"][0]["scale"]
    coarse = [*scale[:-2], *(n * 2**level for n in scale[-2:])]
    return {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": coarse}]}


def _write_level(group: Any, level: int) -> None:
    fine = group[str(level - 1)]
    size = -(-fine.shape[-2] // 2), -(-fine.shape[-1] // 2)
    soft = fine.ndim == 3
    chunks = (*(1,) * soft, CHUNK, CHUNK)
    coarse = group.create_array(
        str(level), shape=(*fine.shape[:-2], *size), chunks=chunks, dtype="u1", overwrite=True
    )
    tiling = Tiling(size, _WINDOW)
    for place in tiling.places():
        rows, columns = tiling.window(*place).slices
        twice = slice(2 * rows.start, 2 * rows.stop), slice(2 * columns.start, 2 * columns.stop)
        if not soft:
            coarse[rows, columns] = fine[twice][::2, ::2]
            continue
        for k in range(fine.shape[0]):
            coarse[k, rows, columns] = _means(fine[(k, *twice)])


def _means(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the means of 2 x 2 pixels, an odd last row or column taken twice."""
    height, width = pixels.shape
    even = np.pad(pixels, ((0, height % 2), (0, width % 2)), mode="edge").astype(np.uint16)
    total = even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]
    means: npt.NDArray[np.uint8] = ((total + 2) // 4).astype(np.uint8)
    return means
