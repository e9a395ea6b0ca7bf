"""Strokes as what a person drew: connected pixels of one class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from skimage.measure import label
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
