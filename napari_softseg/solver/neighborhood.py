"""Neighbourhoods of offsets: which pixels are joined, and how strongly.

Every undirected edge is stored once, at the pixel it starts from. An edge map for the
offset (dy, dx) is a full-size (B, H, W) tensor whose entry at i is the weight of the edge
from i to i + (dy, dx), zero where that leaves the image.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor

from napari_softseg.options import Neighborhood

Offset = tuple[int, int]
Edges = dict[Offset, Tensor]


def _canonical(offset: Offset) -> Offset:
    """Return the one of +-offset under which an undirected edge is stored: down, or right within a row."""
    return max(offset, (-offset[0], -offset[1]))


def _long_offsets(count: int = 8, shortest: float = 2, longest: float = 64) -> tuple[Offset, ...]:
    """Return offsets of random direction and log-uniform length in pixels, always the same ones."""
    generator = random.Random(0)
    offsets: dict[Offset, None] = {}
    while len(offsets) < count:
        length = shortest * (longest / shortest) ** generator.random()
        angle = math.pi * generator.random()
        offsets[_canonical((round(length * math.sin(angle)), round(length * math.cos(angle))))] = None
    return tuple(offsets)


OFFSETS: dict[Neighborhood, tuple[Offset, ...]] = {
    Neighborhood.GRID4: ((0, 1), (1, 0)),
    Neighborhood.GRID8: ((0, 1), (1, 0), (1, 1), (1, -1)),
    Neighborhood.SN: ((0, 1), (1, 0), *_long_offsets()),
}
"""The pixels each pixel is joined to, every pair once.

``sn`` follows the sparse non-local CRF of Veksler & Boykov (CVPR 2022): besides the nearest pixels a
fixed number of far ones, so the edges stay linear in the pixels. Ours are drawn once for all pixels
instead of anew for each, so that far edges are weight maps like the others and every solver, kernel
and coarser copy takes them as they are.
"""


def edge_ends(offset: Offset, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the index windows of all edges' starts and ends inside a height x width image."""
    dy, dx = offset
    rows, columns = max(0, height - dy), max(0, width - abs(dx))
    left = max(0, -dx)
    starts = (slice(0, rows), slice(left, left + columns))
    ends = (slice(dy, dy + rows), slice(left + dx, left + dx + columns))
    return starts, ends


def grid_edges(image: Tensor, neighborhood: str, bandwidth: float, valid: Tensor | None = None) -> Edges:
    """Return the colour-Gaussian edge weights of a neighbourhood of offsets.

    ``w_ij = exp(-3 |I_i - I_j|^2 / (2 C bandwidth^2)) / |offset|``: for C = 3 the paper's weight;
    the factor 3/C makes a grey image weigh like its RGB copy.

    Parameters
    ----------
    image : (B, C, H, W) float tensor
        Intensities in 0..255.
    neighborhood : str
        ``"grid4"``, ``"grid8"`` (1/sqrt(2) on the diagonals) or ``"sn"`` (1/distance on its far edges).
    bandwidth : float
        Standard deviation of the colour difference, in grey values.
    valid : (B, H, W) bool tensor, optional
        False on padding: edges that touch it get weight zero.

    Returns
    -------
    Edges
        One (B, H, W) weight map in 0..1 per offset.

    Notes
    -----
    Zhang & Boykov 2025, section 4; Boykov & Jolly 2001.
    """
    offsets = OFFSETS[Neighborhood.named(neighborhood)]
    return offset_edges(image, {offset: math.hypot(*offset) for offset in offsets}, bandwidth, valid)


def offset_edges(
    image: Tensor, distances: dict[Offset, float], bandwidth: float, valid: Tensor | None = None
) -> Edges:
    """Return the weights :func:`grid_edges` describes for any offsets and the distances they stand for."""
    _, channels, height, width = image.shape
    scale = -3.0 / (2.0 * channels * bandwidth * bandwidth)
    edges: Edges = {}
    for offset, distance in distances.items():
        starts, ends = edge_ends(offset, height, width)
        difference = image[..., *starts] - image[..., *ends]
        weight = (difference.square().sum(1) * scale).exp() / distance
        if valid is not None:
            weight = weight * (valid[..., *starts] & valid[..., *ends])
        edges[offset] = image.new_zeros(image.shape[0], height, width)
        edges[offset][..., *starts] = weight
    return edges


def drop_seed_edges(edges: Edges, seeds: Tensor) -> Edges:
    """Set the weight of edges between two seeds to zero: they carry no variable.

    `seeds` is (B, H, W) int, negative where a pixel is free.
    """
    height, width = seeds.shape[-2:]
    first = next(iter(edges.values()), None)
    if first is None:
        return {}
    # one behind the other in the order of their offsets: kernels take them as one array
    maps = first.new_empty((len(seeds), len(edges), height, width))
    kept = {offset: maps[:, number] for number, offset in enumerate(sorted(edges))}
    for offset, weight in edges.items():
        starts, ends = edge_ends(offset, height, width)
        both = (seeds[..., *starts] >= 0) & (seeds[..., *ends] >= 0)
        kept[offset].copy_(weight)
        kept[offset][..., *starts] *= ~both
    return kept


def coarse_parts(edges: Edges) -> Iterator[tuple[Offset, Offset, int, int, int]]:
    """Yield which fine edges make up which coarse ones when 2 x 2 pixels are joined.

    Those of a fine offset that start at rows `row`, row + 2, ... and columns `column`, column + 2, ... have
    one coarse offset; the coarse edge is stored `shift` columns left of the block they start in. Yields
    (offset, coarse offset, row, column, shift); edges inside of a block have none.
    """
    height, width = next(iter(edges.values())).shape[-2:]
    for dy, dx in edges:
        for row in (0, 1):
            for column in (0, 1):
                down, right = (row + dy) // 2, (column + dx) // 2
                if (down, right) == (0, 0) or 2 * down >= height or 2 * abs(right) >= width:
                    continue
                # the same undirected edge is stored at its left end
                shift = -right if down == 0 and right < 0 else 0
                yield (dy, dx), _canonical((down, right)), row, column, shift


def coarsen_edges(edges: Edges) -> Edges:
    """Join 2 x 2 pixels: a coarse edge weighs as much as all fine edges that cross it.

    Labels that are constant on the 2 x 2 blocks so keep their pairwise energy exactly.
    """
    coarse: Edges = {}
    for fine, offset, row, column, shift in coarse_parts(edges):
        weight = edges[fine]
        padded = F.pad(weight, (0, weight.shape[-1] % 2, 0, weight.shape[-2] % 2))
        part = padded[..., row::2, column::2]
        if shift:
            part = F.pad(part, (0, shift))[..., shift:]
        coarse[offset] = coarse[offset] + part if offset in coarse else part.clone()
    return coarse
