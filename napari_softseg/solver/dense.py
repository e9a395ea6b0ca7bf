"""The dense neighbourhood: every pixel joined to every other, by colour and distance.

Only relaxations that are bilinear in the two labels, BL and Q, can be summed over all pairs without
visiting them: their pull ``sum_j w_ij y_j`` is one filter of y, and their energy follows from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_softseg.options import Neighborhood, Relaxation
from napari_softseg.solver.neighborhood import grid_edges
from napari_softseg.solver.permutohedral import Lattice, shifted_lattices
from napari_softseg.solver.relaxations import CLASS_DIM, wide_type

DENSE_RELAXATIONS = (Relaxation.BL, Relaxation.Q)
"""What the dense neighbourhood can be used with."""


@dataclass(frozen=True, slots=True)
class DenseEdges:
    """Edges between all pairs of pixels of each image in a batch; w_ii = 0."""

    lattices: tuple[Lattice, ...]
    """Filters whose mean is the Gaussian sum over the pixels of the whole batch, image by image."""
    scale: Tensor
    """(B, 1, 1): weight of an edge per unit of that Gaussian."""
    own: Tensor
    """(B, H, W): what the filter would add of a pixel to itself."""
    degree: Tensor
    """(B, H, W): sum of a pixel's weights."""

    def pull(self, y: Tensor) -> Tensor:
        """Return ``sum_{j != i} w_ij y_j``, (B, K, H, W) float -> the same, for y >= 0."""
        values = y.movedim(CLASS_DIM, -1).flatten(0, -2).contiguous()
        total = self.lattices[0].filter(values)
        for lattice in self.lattices[1:]:
            total += lattice.filter(values)
        batch, classes, height, width = y.shape
        sums = total.view(batch, height, width, classes).movedim(-1, CLASS_DIM)
        weight = (self.scale / len(self.lattices)).unsqueeze(CLASS_DIM)
        return torch.addcmul(sums * weight, self.own.unsqueeze(CLASS_DIM), y, value=-1).clamp_min_(0)

    def stay(self, relaxation: Relaxation) -> Tensor:
        """Return (B, H, W): the sum of w h."""
        return self.degree if relaxation is Relaxation.Q else torch.zeros_like(self.degree)

    def energy(self, relaxation: Relaxation, y: Tensor, pull: Tensor) -> Tensor:
        """Return (B, H, W): half of the energy of each pixel's edges, given ``pull`` at the labels `y`."""
        if relaxation is Relaxation.Q:
            # w/2 |p - q|^2 = w (|p|^2 + |q|^2) / 2 - w p.q
            return ((self.degree.unsqueeze(CLASS_DIM) * y - pull) * y).sum(CLASS_DIM) / 2
        # w (1 - p.q), written with the weights that pull saw, so that equal labels cost nothing
        total = y.sum(CLASS_DIM) * pull.sum(CLASS_DIM)
        return (total - (y * pull).sum(CLASS_DIM)) / 2

    def to(self, device: torch.device, dtype: torch.dtype) -> DenseEdges:
        """Return the same edges on another device and in another floating type."""
        return DenseEdges(
            tuple(lattice.to(device, dtype) for lattice in self.lattices),
            self.scale.to(device, dtype),
            self.own.to(device, dtype),
            self.degree.to(device, dtype),
        )


def dense_edges(image: Tensor, bandwidth: float, reach: float, valid: Tensor | None = None) -> DenseEdges:
    """Return edges between all pairs of pixels, weighted by colour and distance.

    ``w_ij = a exp(-3 |I_i - I_j|^2 / (2 C bandwidth^2) - |x_i - x_j|^2 / (2 reach^2))``, the bilateral
    kernel of dense CRFs (Krahenbuhl & Koltun, NIPS 2011) on the same colour scale as the grids. The
    factor a makes the mean degree that of the 4-grid of the same image and bandwidth, so that lambda
    weighs alike: the number of pairs does not show. Sums over pairs are approximate, see
    :mod:`napari_softseg.solver.permutohedral`; the edges are symmetric and nonnegative exactly.

    Parameters
    ----------
    image : (B, C, H, W) float tensor
        Intensities in 0..255.
    bandwidth : float
        Standard deviation of the colour difference, in grey values.
    reach : float
        Standard deviation of the distance, in pixels.
    valid : (B, H, W) bool tensor, optional
        False on padding, which has no edges.
    """
    batch, channels, height, width = image.shape
    included = torch.ones_like(image[:, 0], dtype=torch.bool) if valid is None else valid
    colours = image * (math.sqrt(3 / channels) / bandwidth)
    rows, columns = (torch.arange(n, dtype=image.dtype, device=image.device) / reach for n in (height, width))
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    features = torch.cat([colours, places.expand(batch, -1, -1, -1)], CLASS_DIM)
    features = torch.where(included.unsqueeze(CLASS_DIM), features, 0.0)
    group = torch.arange(batch, device=image.device).repeat_interleave(height * width)
    lattices = shifted_lattices(
        features.movedim(CLASS_DIM, -1).flatten(0, -2), group, None if valid is None else included.flatten()
    )
    own = torch.stack([lattice.shares.square().sum(1) for lattice in lattices]).mean(0).view_as(included)
    edges = DenseEdges(lattices, torch.ones_like(image[:, 0, :1, :1]), own, torch.zeros_like(own))
    degree = edges.pull(torch.ones_like(image[:, :1]))[:, 0]
    grid = sum(w.sum((-2, -1), keepdim=True, dtype=wide_type(w)) for w in _grid(image, bandwidth, valid))
    scale = (2 * grid / degree.sum((-2, -1), keepdim=True, dtype=wide_type(degree)).clamp_min(1e-30)).to(own)
    return DenseEdges(lattices, scale, scale * own, scale * degree)


def _grid(image: Tensor, bandwidth: float, valid: Tensor | None) -> list[Tensor]:
    return list(grid_edges(image, Neighborhood.GRID4, bandwidth, valid).values())
