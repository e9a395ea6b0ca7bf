"""Strokes as what a person drew: connected pixels of one class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from skimage.graph import MCP_Geometric
from skimage.measure import label, regionprops
from torch import Tensor

from napari_softseg.training.data.samples import NO_CLASS


def separate_strokes(seeds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return (H, W) numbers 1, 2, ... of the strokes of (H, W) class indices, 0 where there is none.

    A stroke is a set of pixels of one class that touch by a side or a corner.
    """
    numbered: npt.NDArray[np.int64] = label(seeds, background=NO_CLASS, connectivity=2)
    return numbered


def hold_out_strokes(seeds: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Split the strokes of an image into some to train on and some to score on.

    Parameters
    ----------
    seeds
        (H, W) int64 class index, -1 without a stroke.
    share
        Share of every class's strokes that is held out, 0..1: at least one where a class has two or
        more strokes, never its last. A class with one stroke is never held out.
    generator
        Chooses which.

    Returns
    -------
    (Tensor, Tensor)
        Kept and held-out seeds, both (H, W) int64; every stroke is whole in one of them.
    """
    numbered = torch.from_numpy(separate_strokes(seeds.cpu().numpy())).to(seeds.device)
    held = torch.zeros_like(seeds, dtype=torch.bool)
    for index in seeds[seeds != NO_CLASS].unique():
        strokes = numbered[seeds == index].unique()
        wanted = min(max(1, round(share * len(strokes))), len(strokes) - 1) if share > 0 else 0
        # every class takes from the generator, so that adding strokes of one does not reshuffle the others
        order = torch.randperm(len(strokes), generator=generator)
        held |= torch.isin(numbered, strokes[order[:wanted].to(strokes.device)])
    nothing = torch.full_like(seeds, NO_CLASS)
    return torch.where(held, nothing, seeds), torch.where(held, seeds, nothing)


def shortened_strokes(seeds: npt.NDArray[np.int64], ratio: float) -> npt.NDArray[np.int64]:
    """Keep the middle of every stroke, for strokes of which only the pixels are known.

    The length of a stroke is its longest shortest path, measured inside the stroke; kept is what lies on
    the centred `ratio` of it, as wide as it was painted and at least 3 pixels long.

    Parameters
    ----------
    seeds
        (H, W) class index, -1 without a stroke.
    ratio
        0..1; 0 is a dot halfway along.

    Returns
    -------
    ndarray
        (H, W) class index, -1 where nothing is left.
    """
    if ratio >= 1:
        return seeds
    kept = np.zeros(seeds.shape, bool)
    for stroke in regionprops(separate_strokes(seeds)):
        along = _distance_along(stroke.image)
        length = along[stroke.image].max()
        off_centre = np.where(stroke.image, np.abs(along - length / 2), np.inf)
        kept[stroke.slice] |= off_centre <= max(length * ratio / 2, 1.0)
    return np.where(kept, seeds, NO_CLASS)


def _distance_along(stroke: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the distance from one end of a connected (h, w) mask, inside of it; infinite outside."""
    costs = np.where(stroke, 1.0, np.inf)
    start = np.argwhere(stroke)[0]
    for _ in range(2):  # the pixel farthest from anywhere is an end
        distance, _ = MCP_Geometric(costs).find_costs([start])
        start = np.argwhere(distance == distance[stroke].max())[0]
    along: npt.NDArray[np.float64] = distance
    return along
