"""A trained network on an image larger than memory: tile by tile into an OME-Zarr group.

The group, and what it means that a block is done, are those of :mod:`napari_softseg.blocks.store`. Beside one
tile and `BLEND` rows of the image's width nothing is held in memory.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import zarr

from napari_softseg import __version__
from napari_softseg.blocks.api import BlockSolution
from napari_softseg.blocks.pyramid import iter_pyramid
from napari_softseg.blocks.source import Plane, as_plane
from napari_softseg.blocks.store import CONVERGED, UNDONE, BlockStore, open_store
from napari_softseg.blocks.survey import image_hash
from napari_softseg.blocks.tiling import Tiling, check_chunks, parsed_memory
from napari_softseg.errors import InputError
from napari_softseg.solver.checks import REPLACE, check_image_form, not_finite, refuse_not_finite
from napari_softseg.solver.device import resolve_device
from napari_softseg.solver.intensity import IntensityRule, IntensitySurvey, fixed_rule
from napari_softseg.solver.solution import SolveProgress, Status
from napari_softseg.training.predict import (
    ALIGNMENT,
    HALO,
    TILE,
    TiledNetwork,
    check_channels,
    check_tiles,
)
from napari_softseg.training.tiles import iter_blended

if TYPE_CHECKING:
    from napari_softseg.models import DeepLabV3Plus
    from napari_softseg.training.pools import Pools

MEMORY = "2 GB"
"""More than predicting takes on the default tiles, besides the program and the network."""

_POOLS = "napari-softseg-pools"


def iter_predict_blocks(
    model: DeepLabV3Plus,
    image: Any,
    out: str | Path,
    *,
    device: str = "auto",
    tile: int = TILE,
    halo: int = HALO,
    memory: str | float = MEMORY,
    overwrite: bool = False,
    stop: threading.Event | None = None,
) -> Generator[SolveProgress, None, BlockSolution]:
    """Predict an image of any size; run again with the same input it goes on where it was interrupted.

    Parameters
    ----------
    model : DeepLabV3Plus
        In any mode; it is moved to `device`.
    image : (H, W) or (H, W, C) array
        NumPy, mapped file, dask or zarr; or a :class:`~napari_softseg.blocks.source.Plane`, which
        ``open_image(path)`` gives.
    out : path
        Folder of the group, usually ``NAME.zarr``. Probabilities are uint8 there, 255 is 1.
    device, tile, halo
        See :func:`~napari_softseg.training.predict.predict_image`; a tile is a block of the group.
    memory : str or number
        Images stored in chunks too large for it are refused.
    overwrite : bool
        Start over where the result of another image or model is in the way.
    stop : threading.Event, optional
        Set it to end after the tile that is under way.

    Yields
    ------
    SolveProgress
        Parts of the image looked at for its range of values (stage ``"survey"``, not for 8 bits) and for what
        the network pools (``"context"``), tiles (``"predict"``), coarser copies of the result (``"pyramid"``).

    Returns
    -------
    BlockSolution
        Its status is COMPLETED or STOPPED.

    Raises
    ------
    InputError
        If image and model do not fit, or something else is at `out`.
    """
    began = time.perf_counter()
    plane = as_plane(image)
    check_image_form(plane.shape, plane.dtype)
    check_channels(plane.shape, model.config)
    longest = model.config.longest
    if longest is not None and max(plane.size) > longest:
        raise InputError(
            f"The model sees images shrunk to {longest} pixels, which needs the whole image at once; "
            "shrink it and predict it as a file, or train a model without --resize."
        )
    check_tiles(tile, halo)
    check_chunks(plane.chunk_bytes, parsed_memory(memory), 1)
    where = resolve_device(device)
    rule = yield from _iter_rule(plane)
    tiling = Tiling(plane.size, min(tile, -(-max(plane.size) // ALIGNMENT) * ALIGNMENT))
    names = dict(zip(model.config.class_values, model.config.class_names, strict=True))
    identity = {
        "program": __version__,
        "shape": list(plane.shape),
        "dtype": str(plane.dtype),
        "halo": halo,
        "model": _model_hash(model),
        "image": image_hash(plane),
    }
    store = open_store(Path(out), tiling, names, identity, plane.spacing, plane.unit, overwrite)
    ended = store.done()
    before = int((ended != UNDONE).sum())
    if before < ended.size:
        network = TiledNetwork(model, plane, rule, where, tiling.block, halo, pools=_read_pools(store))
        with network.ready():
            yield from _iter_tiles(network, tiling, store, stop)
    done = int((store.done() != UNDONE).sum())
    if done == ended.size:
        yield from iter_pyramid(store, plane.size)
    return BlockSolution(
        path=store.path,
        classes=store.classes,
        size=plane.size,
        block=tiling.block,
        halo=halo,
        blocks=ended.size,
        done=done,
        solved=done - before,
        seconds=time.perf_counter() - began,
        status=Status.COMPLETED if done == ended.size else Status.STOPPED,
    )


def _iter_tiles(
    network: TiledNetwork, tiling: Tiling, store: BlockStore, stop: threading.Event | None
) -> Generator[SolveProgress, None, None]:
    """Predict and write what is not done yet; yields progress."""
    stop = stop or threading.Event()
    if network.pools is None and tiling.grid != (1, 1):
        for number, total in network.iter_pools():
            yield SolveProgress("context", number, total)
            if stop.is_set():
                return
        _write_pools(store, network.pools)
    ended = store.done()
    total, number = ended.size, int((ended != UNDONE).sum())
    yield SolveProgress("predict", number, total)
    if stop.is_set():
        return
    first_row = int(np.argwhere(ended == UNDONE)[0, 0])
    for place, values in iter_blended(network.probabilities, tiling, first_row):
        if values is not None and ended[place] == UNDONE:
            store.write(place, tiling.window(*place), values, CONVERGED)
            number += 1
        yield SolveProgress("predict", number, total)
        if stop.is_set():
            return


def _iter_rule(plane: Plane) -> Generator[SolveProgress, None, IntensityRule]:
    """Find how the values of an image become intensities, as for one in memory; yields progress."""
    rule = fixed_rule(plane.dtype)
    if rule is not None:
        return rule
    survey = IntensitySurvey(plane.size)
    tiling = Tiling(plane.size, TILE)
    places = list(tiling.places())
    bad_pixels, first_bad = 0, (0, 0)
    for number, place in enumerate(places):
        yield SolveProgress("survey", number, len(places))
        window = tiling.window(*place)
        pixels = plane.read(*window.slices)
        bad = not_finite(pixels)
        if bad is None:
            survey.add(pixels, window.top, window.left)
        else:
            row, column = np.argwhere(bad)[0]
            first_bad = first_bad if bad_pixels else (window.top + int(row), window.left + int(column))
            bad_pixels += int(bad.sum())
    if bad_pixels:
        refuse_not_finite(bad_pixels, *first_bad, way_out=REPLACE)
    return survey.rule(plane.dtype)


def _model_hash(model: DeepLabV3Plus) -> str:
    found = hashlib.md5(json.dumps(model.config.to_json()).encode(), usedforsecurity=False)
    for name, tensor in model.state_dict().items():
        found.update(name.encode() + tensor.cpu().numpy().tobytes())
    return found.hexdigest()


def _read_pools(store: BlockStore) -> Pools | None:
    """Return what an interrupted run found the network to pool; None if it did not come that far."""
    pools: Any = zarr.open_group(store.path, mode="r").attrs.asdict().get(_POOLS)
    return None if pools is None else [torch.tensor(mean).reshape(-1, 1, 1) for mean in pools]


def _write_pools(store: BlockStore, pools: Pools | None) -> None:
    assert pools is not None
    zarr.open_group(store.path, mode="r+").attrs[_POOLS] = [mean.flatten().tolist() for mean in pools]
