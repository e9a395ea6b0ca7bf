"""Sums over all pairs of points with Gaussian weights, in linear time, on permutohedral lattices.

Each point lies in one simplex of the lattice and shares itself out among the d + 1 corners by its
barycentric coordinates (splat, S); a point's sum is read back with the same coordinates (slice, S^T).
``S^T S`` weighs two points by how much of a corner they share; averaged over all positions of the
lattice that is a smooth bump, the convolution of 2(d + 1) short segments, and so nearly a Gaussian.

Adams, Baek & Davis ("Fast High-Dimensional Filtering Using the Permutohedral Lattice", 2010) use one
fine lattice, blurred between splat and slice. Ours averages a few coarser ones, each shifted, and blurs
none: ``W = 1/R sum S_r^T S_r``. That is exactly symmetric and nonnegative, has no corner missing that
a blur would need, is faster, and its diagonal is known: the mean of the squared coordinates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_LATTICES = 5
"""Shifted copies: more are more accurate, and cost time and memory in proportion. With 5, sums over all
pairs of an RGB image are off by about 5 % (docs/solver.md)."""

_SPREAD = 1.05 / math.sqrt(6)
"""Lattice steps per standard deviation: the bump's variance is 1/6 in every direction; a little finer
comes closest to a Gaussian in the mean square."""

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Lattice:
    """Which corners N points share, stored both ways, so that neither sum needs a scatter."""

    corners: Tensor
    """(N, d + 1) int32: the corners of each point."""
    shares: Tensor
    """(N, d + 1) float: its barycentric coordinates, >= 0, rows sum to 1 (or are 0 for points left out)."""
    points: Tensor
    """(N (d + 1),) int32: the points of each corner, one corner after the other."""
    point_shares: Tensor
    """(N (d + 1),) float: their coordinates there."""
    first: Tensor
    """(V,) int32: where each corner begins in `points`."""

    def filter(self, values: Tensor) -> Tensor:
        """Return ``S^T S values``, (N, K) float -> (N, K)."""
        at_corners = F.embedding_bag(
            self.points, values, self.first, per_sample_weights=self.point_shares, mode="sum"
        )
        return F.embedding_bag(self.corners, at_corners, per_sample_weights=self.shares, mode="sum")

    def to(self, device: torch.device, dtype: torch.dtype) -> Lattice:
        """Return the same lattice on another device and with shares of another floating type."""
        return Lattice(
            self.corners.to(device),
            self.shares.to(device, dtype),
            self.points.to(device),
            self.point_shares.to(device, dtype),
            self.first.to(device),
        )


def shifted_lattices(features: Tensor, group: Tensor, included: Tensor | None = None) -> tuple[Lattice, ...]:
    """Return lattices whose mean filter is close to a Gaussian of standard deviation 1.

    Parameters
    ----------
    features : (N, d) float tensor
        Positions of the points, in standard deviations.
    group : (N,) int64 tensor
        Points of different groups share nothing.
    included : (N,) bool tensor, optional
        False leaves a point out: nothing comes from it, nothing reaches it.
    """
    dimensions = features.shape[1]
    multiples = torch.arange(1, dimensions + 2, dtype=features.dtype, device=features.device)
    evenly = (multiples * _GOLDEN) % 1
    return tuple(_lattice(features, (copy * evenly) % 1, group, included) for copy in range(_LATTICES))


def _lattice(features: Tensor, shift: Tensor, group: Tensor, included: Tensor | None) -> Lattice:
    dimensions = features.shape[1]
    lifted = _SPREAD * _basis(features) @ features.T + (shift.mean() - shift).unsqueeze(1)
    # The lattice is the integer grid of one more dimension seen along its diagonal (all coordinates
    # equal): a point's simplex is the shadow of the steps from its cell's lowest corner to its highest,
    # one axis at a time, largest remainder first.
    low = lifted.floor()
    rest, axes = torch.sort(lifted - low, dim=0, descending=True)
    shares = torch.cat([1 - rest[:1] + rest[-1:], rest[:-1] - rest[1:]]).clamp_min_(0)
    if included is not None:
        shares = shares * included
    # Corners are told apart by a random linear function modulo 2^64 of their integer coordinates.
    generator = torch.Generator().manual_seed(0)
    code = torch.randint(-(2**62), 2**62, (dimensions + 2,), generator=generator).to(features.device) * 2 + 1
    axis_code, group_code = code[:-1], code[-1]
    grid = low.long()
    start = (dimensions + 1) * (grid * axis_code.unsqueeze(1)).sum(0) - grid.sum(0) * axis_code.sum()
    steps = ((dimensions + 1) * axis_code[axes[:-1]] - axis_code.sum()).cumsum(0)
    keys = (group * group_code + torch.cat([start.unsqueeze(0), start + steps])).T
    in_order, by_corner = torch.sort(keys.flatten(), stable=True)
    fresh = torch.ones_like(in_order, dtype=torch.bool)
    fresh[1:] = in_order[1:] != in_order[:-1]
    corners = torch.empty(keys.shape, dtype=torch.int32, device=keys.device)
    corners.view(-1)[by_corner] = fresh.cumsum(0, dtype=torch.int32) - 1
    shares = shares.T.contiguous()
    return Lattice(
        corners=corners,
        shares=shares,
        points=(by_corner // (dimensions + 1)).int(),
        point_shares=shares.flatten()[by_corner],
        first=fresh.nonzero()[:, 0].int(),
    )


def _basis(features: Tensor) -> Tensor:
    """Return (d + 1, d) orthonormal columns of zero sum: the plane that faces the diagonal."""
    dimensions = features.shape[1]
    basis = torch.zeros(dimensions + 1, dimensions, dtype=features.dtype)
    for column in range(dimensions):
        basis[: column + 1, column] = 1
        basis[column + 1, column] = -(column + 1)
        basis[:, column] /= math.sqrt((column + 1) * (column + 2))
    return basis.to(features.device)
