"""What a pixel classifier sees of a pixel: colour, edges, ridges and blobs at several scales.

All of it is separable convolutions on a pyramid in torch, which run without Python's lock, so that a
viewer stays alive while a worker thread computes them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

SCALES = (0.7, 1.4, 2.8, 5.6)
"""Gaussian widths in pixels of the feature grid."""

_COARSEN_AT = 4.0
_D65 = (0.95047, 1.0, 1.08883)
_RGB_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))


def color_planes(image: npt.NDArray[np.float32]) -> Tensor:
    """Return (C, H, W) float32 planes, about 0..100, of an (H, W, C) image in 0..255.

    Three channels are taken as sRGB and become CIE Lab (D65), where distances are closer to what an
    eye calls different; any other number of channels stays as it is.
    """
    x = torch.from_numpy(np.ascontiguousarray(image)).movedim(-1, 0) / 255
    if x.shape[0] != 3:
        return x * 100
    x = x.clamp(0, 1)
    linear = torch.where(x > 0.04045, ((x + 0.055) / 1.055) ** 2.4, x / 12.92)
    xyz = torch.einsum("ij,jhw->ihw", torch.tensor(_RGB_TO_XYZ), linear) / torch.tensor(_D65)[:, None, None]
    f = torch.where(xyz > 0.008856, xyz.clamp_min(1e-6) ** (1 / 3), 7.787 * xyz + 16 / 116)
    return torch.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def pixel_features(planes: Tensor) -> Tensor:
    """Return (F, H, W) float32 features of (C, H, W) planes; finite for any size >= 1x1.

    The planes as they are, and per scale: every plane smoothed, its gradient magnitude, and the two
    eigenvalues of the first plane's Hessian (ridges and blobs). Derivatives are multiplied by the scale,
    so that all scales weigh alike.
    """
    size = planes.shape[-2:]
    found = [planes]
    current, width, factor = planes, 0.0, 1
    for scale in SCALES:
        while scale / factor >= _COARSEN_AT and min(current.shape[-2:]) >= 4:
            current = halve(current)
            factor *= 2
        here = scale / factor
        smooth = _blur(current, math.sqrt(max(here**2 - (width / factor) ** 2, 0.25)))
        local = torch.cat([smooth, *_derivatives(smooth, here)])
        if factor > 1:  # by the exact factor, then cut: an odd size must not stretch the whole image
            local = enlarge(local, [factor * n for n in local.shape[-2:]])[..., : size[0], : size[1]]
        found.append(local)
        current, width = smooth, scale
    return rounded(torch.cat(found))


def rounded(features: Tensor) -> Tensor:
    """Return features to 1/64, so that no tree splits on the last bits of a flat region's arithmetic."""
    return torch.round(features * 64) / 64


def halve(x: Tensor) -> Tensor:
    """Return (C, ceil(H/2), ceil(W/2)): the means of 2x2 pixels."""
    return F.avg_pool2d(x[None], 2, ceil_mode=True, count_include_pad=False)[0]


def enlarge(x: Tensor, size: Sequence[int]) -> Tensor:
    """Return (C, *size), interpolated linearly."""
    return F.interpolate(x[None], size=tuple(size), mode="bilinear", align_corners=False)[0]


def _derivatives(smooth: Tensor, scale: float) -> list[Tensor]:
    gx, gy = _gradient(smooth)
    xx, xy = _gradient(gx[:1])
    yy = _gradient(gy[:1])[1]
    return [torch.sqrt(gx * gx + gy * gy) * scale, torch.cat(_eigenvalues(xx, yy, xy)) * scale**2]


def _eigenvalues(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return the larger and the smaller eigenvalue of [[a, c], [c, b]]."""
    mean = (a + b) / 2
    spread = torch.sqrt(((a - b) / 2) ** 2 + c * c)
    return mean + spread, mean - spread


def _gradient(x: Tensor) -> tuple[Tensor, Tensor]:
    across = F.pad(x[None], (1, 1, 0, 0), mode="replicate")[0]
    down = F.pad(x[None], (0, 0, 1, 1), mode="replicate")[0]
    return (across[..., 2:] - across[..., :-2]) / 2, (down[:, 2:] - down[:, :-2]) / 2


def _blur(x: Tensor, sigma: float) -> Tensor:
    """Return (C, H, W) smoothed by a Gaussian, the border pixels repeated outwards."""
    radius = math.ceil(3 * sigma)
    t = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-t * t / (2 * sigma * sigma))
    kernel = kernel / kernel.sum()
    rows = F.conv2d(F.pad(x[:, None], (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    return F.conv2d(F.pad(rows, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))[:, 0]
