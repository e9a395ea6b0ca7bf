"""Edge weights by hand, and coarse edges by energy."""

from __future__ import annotations

import math

import pytest
import torch

from napari_softseg.options import Neighborhood
from napari_softseg.solver.neighborhood import (
    OFFSETS,
    _long_offsets,
    coarsen_edges,
    drop_seed_edges,
    edge_ends,
    grid_edges,
)
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


@pytest.mark.parametrize("offsets", OFFSETS.values(), ids=list(OFFSETS))
def test_every_undirected_edge_is_stored_once(offsets: tuple[tuple[int, int], ...]) -> None:
    assert all(offset > (0, 0) for offset in offsets)
    assert len({*offsets, *((-dy, -dx) for dy, dx in offsets)}) == 2 * len(offsets)


def test_far_edges_are_repeatable_spread_in_length_and_direction() -> None:
    far = OFFSETS[Neighborhood.SN][2:]
    assert far == _long_offsets()
    lengths = sorted(math.hypot(*offset) for offset in far)
    assert lengths[0] < 8 < 24 < lengths[-1] <= 64.5
    assert {dx > 0 for _, dx in far} == {True, False}


@pytest.mark.parametrize("offset", [(0, 1), (0, 9), (2, -3), (5, 4), (6, 0), (40, 0), (3, -40)])
def test_ends_are_the_pairs_inside_the_image(offset: tuple[int, int]) -> None:
    height, width = 6, 9
    pixels = torch.arange(height * width).view(height, width)
    starts, ends = edge_ends(offset, height, width)
    pairs = list(zip(pixels[starts].flatten().tolist(), pixels[ends].flatten().tolist(), strict=True))
    dy, dx = offset
    assert pairs == [
        (y * width + x, (y + dy) * width + x + dx)
        for y in range(height)
        for x in range(width)
        if y + dy < height and 0 <= x + dx < width
    ]


def test_far_edges_weigh_by_colour_and_distance() -> None:
    image = 40 * noise(1, 3, 70, 80)
    edges = grid_edges(image, "sn", 9.0)
    dy, dx = offset = OFFSETS[Neighborhood.SN][2]
    y, x = 3, 40
    squared = (image[0, :, y, x] - image[0, :, y + dy, x + dx]).square().sum().item()
    expected = math.exp(-squared / 162) / math.hypot(dy, dx)
    assert edges[offset][0, y, x].item() == pytest.approx(expected)
    for (dy, dx), weight in edges.items():
        outside = weight.clone()
        outside[..., *edge_ends((dy, dx), 70, 80)[0]] = 0
        assert (outside == 0).all()


@pytest.mark.parametrize("neighborhood", ["grid4", "grid8", "sn"])
@pytest.mark.parametrize("size", [(8, 6), (9, 7), (8, 7), (75, 70), (70, 131), (2, 90)])
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
    for offset, weight in coarse.edges.items():
        assert offset > (0, 0)
        inside = torch.zeros_like(weight)
        starts = edge_ends(offset, *weight.shape[-2:])[0]
        inside[..., *starts] = weight[..., *starts]
        assert torch.equal(inside, weight)
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


@pytest.mark.parametrize("dx", range(-9, 10))
@pytest.mark.parametrize("dy", range(4))
def test_coarse_edges_of_any_offset_one_by_one(dy: int, dx: int) -> None:
    """Each fine edge adds its weight to the coarse edge between the blocks of its ends, if they differ."""
    if (dy, dx) <= (0, 0):
        return
    height, width = 7, 10
    starts, _ = edge_ends((dy, dx), height, width)
    weight = torch.zeros(1, height, width, dtype=torch.float64)
    weight[..., *starts] = noise(1, height, width)[..., *starts]
    expected: dict[tuple[int, int, int, int], float] = {}
    for y in range(height):
        for x in range(width):
            one, other = sorted([(y // 2, x // 2), ((y + dy) // 2, (x + dx) // 2)])
            if weight[0, y, x] > 0 and one != other:
                expected[*one, *other] = expected.get((*one, *other), 0.0) + weight[0, y, x].item()
    found = {
        (y, x, y + down, x + right): coarse[0, y, x].item()
        for (down, right), coarse in coarsen_edges({(dy, dx): weight}).items()
        for y in range(4)
        for x in range(5)
        if coarse[0, y, x] > 0
    }
    assert found == pytest.approx(expected)
