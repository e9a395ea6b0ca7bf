"""The one-pixel problems of a large image, which are solved a part of the image at a time."""

from __future__ import annotations

import torch

from napari_softseg.solver.simplex import minimise_on_simplex


def test_parts_of_an_image_do_not_show() -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, 211, 150)
    a, c, y = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    d = 5 * torch.rand((2, 1, 211, 150), generator=generator, dtype=torch.float64)
    whole = minimise_on_simplex(a, None, c, d, y / y.sum(1, keepdim=True), 1e-9)
    torch.testing.assert_close(whole.sum(1), torch.ones_like(whole[:, 0]))
    for row in (0, 144, 145, 146, 210):
        part = (..., slice(row, row + 1), slice(None))
        alone = minimise_on_simplex(a[part], None, c[part], d[part], (y / y.sum(1, keepdim=True))[part], 1e-9)
        torch.testing.assert_close(whole[part], alone, atol=1e-7, rtol=0)
