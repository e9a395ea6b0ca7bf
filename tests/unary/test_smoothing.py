"""Averaging stays inside regions, and distributions stay distributions."""

from __future__ import annotations

import pytest
import torch

from napari_softseg.unary.smoothing import smooth_within_edges


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (31, 17)])
def test_distributions_stay_distributions_and_input_is_kept(size: tuple[int, int]) -> None:
    values = torch.softmax(4 * noise(3, *size), dim=0)
    before = values.clone()
    found = smooth_within_edges(values, 100 * noise(2, *size), reach=20, contrast=15)
    assert found.shape == values.shape
    torch.testing.assert_close(found.sum(0), torch.ones(size))
    assert found.min() >= values.min() - 1e-6
    assert found.max() <= values.max() + 1e-6
    assert torch.equal(values, before)


def test_a_constant_stays() -> None:
    values = torch.full((2, 20, 30), 0.5)
    found = smooth_within_edges(values, 100 * noise(3, 20, 30), reach=20, contrast=15)
    torch.testing.assert_close(found, values)


def test_nothing_leaks_over_a_strong_edge() -> None:
    guide = torch.zeros(1, 20, 40)
    guide[..., 20:] = 100
    found = smooth_within_edges((guide > 0).float(), guide, reach=20, contrast=5)
    assert found[..., :20].max() < 1e-6
    assert found[..., 20:].min() > 1 - 1e-6


def test_flat_noise_is_averaged_as_far_as_it_should() -> None:
    values = torch.zeros(1, 201, 201)
    values[0, 100, 100] = 1
    spread = smooth_within_edges(values, torch.zeros(1, 201, 201), reach=10, contrast=15)[0]
    spread = spread / spread.sum()
    offsets = torch.arange(-100.0, 101.0)
    deviation = torch.sqrt((spread.sum(0) * offsets**2).sum())
    assert deviation == pytest.approx(10, rel=0.1)
