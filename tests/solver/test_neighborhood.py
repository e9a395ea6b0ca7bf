"""Edge weights by hand, and coarse edges by energy."""

from __future__ import annotations

import math

import pytest
import torch

from napari_softseg.solver.neighborhood import coarsen_edges, drop_seed_edges, grid_edges
from napari_softseg.solver.problem import Problem, refine


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_weights_by_hand() -> None:
    image = torch.tensor([[[10.0, 20.0], [10.0, 40.0]]] * 3, dtype=torch.float64)[None]
    edges = grid_edges(image, "grid8", 9.0)
    # RGB: |difference|^2 counts all three channels
    expected = {
        (0, 1): [[math.exp(-3 * 100 / 162), 0], [math.exp(-3 * 900 / 162), 0]],
        (1, 0): [[1.0, math.exp(-3 * 400 / 162)], [0, 0]],
        (1, 1): [[math.exp(-3 * 900 / 162) / math.sqrt(2), 0], [0, 0]],
        (1, -1): [[0, math.exp(-3 * 100 / 162) / math.sqrt(2)], [0, 0]],
    }
    assert set(edges) == set(expected)
    for offset, weights in expected.items():
        torch.testing.assert_close(edges[offset][0], torch.tensor(weights, dtype=torch.float64))


def test_grey_weighs_like_its_rgb_copy() -> None:
    grey = 255 * noise(1, 1, 9, 7)
    for offset, weight in grid_edges(grey, "grid8", 9.0).items():
        torch.testing.assert_close(weight, grid_edges(grey.expand(1, 3, 9, 7), "grid8", 9.0)[offset])


def test_padding_and_seed_pairs_have_no_edges() -> None:
    valid = torch.ones(1, 4, 4, dtype=torch.bool)
    valid[..., 3] = False
    seeds = torch.full((1, 4, 4), -1)
    seeds[0, 0, 0], seeds[0, 0, 1] = 0, 1
    edges = drop_seed_edges(grid_edges(torch.zeros(1, 1, 4, 4), "grid4", 9.0, valid), seeds)
    assert edges[(0, 1)][0].tolist() == [[0, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert edges[(1, 0)][0, :, 3].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("neighborhood", ["grid4", "grid8"])
@pytest.mark.parametrize("size", [(8, 6), (9, 7), (8, 7)])
def test_blocks_keep_their_pairwise_energy(neighborhood: str, size: tuple[int, int]) -> None:
    """Labels constant on 2 x 2 blocks cost the same on the coarse grid."""
    height, width = size
    fine = Problem(
        seeds=torch.full((1, height, width), -1),
        edges=grid_edges(255 * noise(1, 3, height, width), neighborhood, 60.0),
        n_classes=3,
        eta=0,
    )
    coarse = fine.coarsen()
    labels = (3 * noise(1, 3, (height + 1) // 2, (width + 1) // 2, seed=1)).softmax(1)
    torch.testing.assert_close(
        coarse.pairwise(labels).energy, fine.pairwise(refine(labels, height, width)).energy
    )


def test_coarse_total_weight_is_what_crosses() -> None:
    edges = grid_edges(torch.zeros(1, 1, 4, 4), "grid8", 9.0)
    coarse = coarsen_edges(edges)
    assert coarse[(0, 1)][0, 0, 0].item() == pytest.approx(2 + 2 / math.sqrt(2))
    assert coarse[(1, 1)][0, 0, 0].item() == pytest.approx(1 / math.sqrt(2))
    assert coarse[(1, -1)][0, 0, 1].item() == pytest.approx(1 / math.sqrt(2))
