"""Averaging inside regions, not across edges: the domain transform of an image.

Gastal & Oliveira, "Domain Transform for Edge-Aware Image and Video Processing", SIGGRAPH 2011, the
recursive variant (section 5.2). It reaches far in time linear in the number of pixels; the few hundred
short tensor operations per pass leave Python's lock free for a viewer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ITERATIONS = 2
"""Passes along rows and columns; two leave no visible stripes."""


def smooth_within_edges(values: Tensor, guide: Tensor, *, reach: float, contrast: float) -> Tensor:
    """Return `values` averaged over neighbours that the guide shows as one region.

    Parameters
    ----------
    values : (K, H, W) float32 tensor
        Each result is a convex combination of these: distributions stay distributions.
    guide : (C, H, W) float32 tensor
        Planes whose jumps, summed over the planes, are the edges.
    reach : float
        Standard deviation in pixels where the guide is constant.
    contrast : float
        A jump of this size costs as much as `reach` pixels.
    """
    per_unit = reach / contrast
    between_columns = (1 + per_unit * guide.diff(dim=2).abs().sum(0)).T.contiguous()
    between_rows = 1 + per_unit * guide.diff(dim=1).abs().sum(0)
    for iteration in range(ITERATIONS):
        # the widths of the passes halve and their variances add up to reach**2
        width = reach * math.sqrt(3) * 2 ** (ITERATIONS - iteration - 1) / math.sqrt(4**ITERATIONS - 1)
        feedback = math.exp(-math.sqrt(2) / width)
        columns = values.permute(2, 0, 1).clone(memory_format=torch.contiguous_format)
        by_column = _both_ways(columns, feedback**between_columns)
        by_row = _both_ways(by_column.permute(2, 1, 0).contiguous(), feedback**between_rows)
        values = by_row.permute(1, 0, 2)
    return values.contiguous()


def _both_ways(lines: Tensor, feedback: Tensor) -> Tensor:
    """Run the recursion over the first axis, there and back, in place; lines (N, K, M), feedback (N-1, M)."""
    slices, weights = lines.unbind(), feedback.unsqueeze(1).unbind()
    for n in range(1, len(slices)):
        slices[n].lerp_(slices[n - 1], weights[n - 1])
    for n in range(len(slices) - 2, -1, -1):
        slices[n].lerp_(slices[n + 1], weights[n])
    return lines
