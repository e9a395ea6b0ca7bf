"""Tensors as the arrays that kernels take, without copies where they lie right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_softseg.solver.kernels.numba_memory import Floats


def stacked(maps: list[Tensor]) -> Floats:
    """Return (B, O, H, W) of O maps (B, H, W): a view where they lie so, as the edges of a problem do."""
    first, size = maps[0], maps[0][0].numel()
    stride = (len(maps) * size, first.shape[-1], 1)
    lie_so = all(
        one.stride() == stride and one.data_ptr() == first.data_ptr() + number * size * one.element_size()
        for number, one in enumerate(maps)
    )
    if lie_so and first.untyped_storage().nbytes() >= (first.storage_offset() + len(first) * stride[0]) * 4:
        return floats_of(
            first.as_strided((len(first), len(maps), *first.shape[1:]), (stride[0], size, *stride[1:]))
        )
    return floats_of(torch.stack(maps, 1))


def flat_planes(sigma: Tensor | None, batch: int) -> tuple[list[Floats], int]:
    """Return all numbers of each image's sigma, and how many lie from one plane's first to the next one's."""
    if sigma is None:
        return [np.empty(0, np.float32)] * batch, 0
    sigma = sigma.to(torch.float32)
    plane = sigma.stride(1)
    extent = (sigma.shape[1] - 1) * plane + sigma.shape[2] * sigma.shape[3]
    return [image.as_strided((extent,), (1,)).numpy() for image in sigma], plane


def addresses(arrays: Sequence[Floats]) -> npt.NDArray[np.int64]:
    """Return where the arrays begin."""
    return np.array([one.ctypes.data for one in arrays])


def bytes_of(x: Tensor) -> npt.NDArray[np.uint8]:
    """Return the bytes of a bool tensor."""
    array: npt.NDArray[np.uint8] = x.contiguous().numpy().view(np.uint8)
    return array


def floats_of(x: Tensor) -> Floats:
    """Return the numbers of a tensor as float32, in order, copied only where they are not so."""
    array: Floats = x.to(torch.float32).contiguous().numpy()
    return array
