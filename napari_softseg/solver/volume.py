"""Volumes as images: the planes (D, H, W) lie one below the other as D * H rows.

Kernels and solvers know images only, and need no more: a voxel's neighbour in the next plane is the
pixel H rows further down, and edges from the last row of a plane to the first of the next weigh zero.
Only coarsening has to take the planes apart again.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from napari_softseg.solver.neighborhood import Edges, coarsen_edges, offset_edges


def volume_edges(
    image: Tensor, depth: int, bandwidth: float, spacing: float, valid: Tensor | None = None
) -> Edges:
    """Return the colour-Gaussian weights of the edges to the 6 nearest voxels.

    Parameters
    ----------
    image : (B, C, D * H, W) float tensor
        Intensities in 0..255.
    depth : int
        D.
    bandwidth : float
        Standard deviation of the colour difference, in grey values.
    spacing : float
        Distance of two planes, in pixels of a plane; edges between planes weigh 1/spacing.
    valid : (B, D * H, W) bool tensor, optional
        False on padding.
    """
    height = image.shape[-2] // depth
    edges = offset_edges(image, {(0, 1): 1.0, (1, 0): 1.0, (height, 0): spacing}, bandwidth, valid)
    edges[1, 0][..., height - 1 :: height, :] = 0
    return edges if depth > 1 else {offset: edges[offset] for offset in ((0, 1), (1, 0))}


def planes(x: Tensor, depth: int, *, even: float | None = None) -> Tensor:
    """Return (..., D * H, W) as (..., D, H, W); `even` pads all but a single plane to even sides with it."""
    x = x.unflatten(-2, (depth, -1))
    if even is None:
        return x
    pad = (0, x.shape[-1] % 2, 0, x.shape[-2] % 2, 0, depth % 2 if depth > 1 else 0)
    return F.pad(x, pad, value=even) if any(pad) else x


def coarsen_volume_edges(edges: Edges, depth: int) -> Edges:
    """Join 2 x 2 x 2 voxels: a coarse edge weighs as much as all fine edges that cross it."""
    (between,) = (offset for offset in edges if offset[0] > 1)
    inside = {}
    for offset in ((0, 1), (1, 0)):
        x = planes(edges[offset], depth, even=0)
        inside[offset] = (x[:, ::2] + x[:, 1::2]).flatten(1, 2)
    coarse = coarsen_edges(inside)
    if depth > 2:  # else one plane is left
        # only the edges out of the second plane of a pair leave the block
        leaving = planes(edges[between], depth, even=0)[:, 1::2]
        height = leaving.shape[2]
        coarse |= coarsen_edges({(height, 0): leaving.flatten(1, 2)})
    return coarse
