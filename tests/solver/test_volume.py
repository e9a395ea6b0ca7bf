"""Volumes: energies voxel by voxel, the same answers as images and as scikit-image, and coarser copies."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage.segmentation import random_walker
from torch import Tensor

from napari_softseg import InputError, solve
from napari_softseg.solver.problem import Problem, refine
from napari_softseg.solver.volume import volume_edges

Array = npt.NDArray[Any]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ball(depth: int = 12, side: int = 30) -> tuple[Array, Array, Array]:
    """Return a noisy bright ball, one short stroke inside and one outside it in two planes, and the truth."""
    z, y, x = np.mgrid[:depth, :side, :side]
    radius = np.hypot(np.hypot((z - depth / 2) * side / depth, y - side / 2), x - side / 2)
    truth = radius < side / 3
    image = 100 + 40 * truth + np.random.default_rng(0).normal(0, 8, truth.shape)
    scribbles = np.zeros(truth.shape, np.uint8)
    scribbles[depth // 2, side // 2, side // 2 - 3 : side // 2 + 3] = 2
    scribbles[1, 1, 1 : side - 1] = 1
    return image.clip(0, 255).astype(np.uint8), scribbles, truth


def edges_one_by_one(image: Array, bandwidth: float, spacing: float) -> dict[tuple[Any, Any], float]:
    """Return the weight of every pair of nearest voxels of (D, H, W), from the definition."""
    found = {}
    for here in itertools.product(*map(range, image.shape)):
        for axis in range(3):
            there = tuple(n + (a == axis) for a, n in enumerate(here))
            if there[axis] < image.shape[axis]:
                difference = float(image[here]) - float(image[there])
                weight = np.exp(-3 * difference**2 / (2 * bandwidth**2))
                found[here, there] = weight / (spacing if axis == 0 else 1)
    return found


@pytest.mark.parametrize("shape", [(2, 2, 5), (3, 4, 6), (4, 3, 5)])
@pytest.mark.parametrize(("spacing", "method"), [(1.0, "mm"), (2.5, "mm"), (1.0, "gd")])
def test_energy_is_that_of_the_six_nearest_voxels(
    shape: tuple[int, int, int], spacing: float, method: str
) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 40, shape).astype(np.uint8)
    scribbles = np.zeros(shape, np.uint8)
    scribbles[0, 0, :2], scribbles[-1, -1, -2:] = 1, 2
    sigma = rng.dirichlet([1, 1], shape).transpose(3, 0, 1, 2)
    solution = solve(image, scribbles, unary=sigma, spacing=spacing, method=method, max_sweeps=7)
    y, free = solution.probabilities.astype(float), scribbles == 0
    assert y.shape == (2, *shape)
    unary = -0.3 * np.log((y * sigma).sum(0))[free].sum()
    pairwise = 0.0
    for (here, there), weight in edges_one_by_one(image, 9.0, spacing).items():
        if free[here] or free[there]:
            p, q = y[:, *here], y[:, *there]
            pairwise -= 6 * weight * np.log(p @ q / np.linalg.norm(p) / np.linalg.norm(q))
    assert solution.terms.unary == pytest.approx(unary, rel=1e-4)
    assert solution.terms.pairwise == pytest.approx(pairwise, rel=1e-4)


@pytest.mark.parametrize("unary", ["classifier", "none"])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_volume_of_one_plane_is_an_image(unary: str, channels: tuple[int, ...]) -> None:
    image, scribbles, _ = ball()
    image, scribbles = image[6, ..., *[np.newaxis] * len(channels)], scribbles[6]
    image = np.broadcast_to(image, (*scribbles.shape, *channels))
    scribbles[1, 1:-1] = 1
    alone = solve(image, scribbles, unary=unary)
    volume = solve(image[np.newaxis], scribbles[np.newaxis], unary=unary)
    assert np.array_equal(volume.probabilities[:, 0], alone.probabilities)
    assert volume.energy == alone.energy


def test_strokes_in_two_planes_find_the_ball_in_all() -> None:
    image, scribbles, truth = ball()
    solution = solve(image, scribbles)
    assert solution.labels.shape == solution.entropy.shape == image.shape
    assert ((solution.labels == 2) == truth).mean() > 0.97


def test_planes_the_other_way_round_give_the_same_answer() -> None:
    image, scribbles, _ = ball()
    found = solve(image, scribbles, unary="none", relaxation="q", tolerance=1e-6, max_sweeps=2000)
    turned = solve(
        image[::-1], scribbles[::-1], unary="none", relaxation="q", tolerance=1e-6, max_sweeps=2000
    )
    np.testing.assert_allclose(turned.probabilities[:, ::-1], found.probabilities, atol=5e-3)


def test_methods_meet_where_the_energy_is_convex() -> None:
    image, scribbles, _ = ball(6, 12)
    options: dict[str, Any] = {"unary": "none", "relaxation": "q", "lambda_": 1.0}
    exact = solve(image, scribbles, method="closed-form", **options)
    found = solve(image, scribbles, tolerance=1e-7, max_sweeps=5000, **options)
    np.testing.assert_allclose(found.probabilities, exact.probabilities, atol=2e-3)


def test_closed_form_is_scikit_images_random_walker() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 30, (5, 12, 13)).astype(np.uint8)
    scribbles = np.zeros(image.shape, np.uint8)
    scribbles[0, 1, 1:4], scribbles[4, 10, 9:12], scribbles[2, 6, 6] = 1, 2, 3
    ours = solve(image, scribbles, unary="none", relaxation="q", method="closed-form")
    grey = image.astype(float)
    beta = 10 * grey.std() * 3 / (2 * 9.0**2)
    theirs = random_walker(grey, scribbles, beta=beta, mode="bf", return_full_prob=True)
    np.testing.assert_allclose(ours.probabilities, theirs, atol=2e-3)


@pytest.mark.parametrize("shape", [(2, 4, 6), (3, 5, 7), (5, 4, 3), (6, 7, 8)])
def test_blocks_keep_their_pairwise_energy(shape: tuple[int, int, int]) -> None:
    """Labels constant on 2 x 2 x 2 blocks cost the same on the coarse grid, twice over."""
    depth, height, width = shape
    image = 255 * noise(1, 3, depth * height, width)
    edges = volume_edges(image, depth, 60.0, 2.0)
    free = torch.full((1, depth * height, width), -1)
    fine = Problem(
        seeds=free,
        edges=edges,
        n_classes=3,
        eta=0.1,
        sigma=torch.ones(1, 3, depth * height, width) / 3,
        depth=depth,
    )
    coarse = fine.coarsen()
    rows, columns = (height + 1) // 2, (width + 1) // 2
    assert coarse.depth == (depth + 1) // 2
    assert coarse.seeds.shape == (1, coarse.depth * rows, columns)
    assert coarse.eta == pytest.approx(0.8)
    labels = (3 * noise(1, 3, coarse.depth * rows, columns, seed=1)).softmax(1)
    torch.testing.assert_close(
        coarse.pairwise(labels).energy,
        fine.pairwise(refine(labels, depth * height, width, depth)).energy,
    )


def test_coarse_strokes_and_guesses_are_those_of_the_block() -> None:
    seeds = torch.full((3, 4, 4), -1)
    seeds[1, 0, 0], seeds[2, 3, 3] = 1, 0  # alone in their blocks
    seeds[0, 2, 0], seeds[1, 3, 1] = 0, 1  # two classes in one block
    image = torch.zeros(1, 1, 12, 4)
    sigma = torch.zeros(1, 2, 3, 4, 4)
    sigma[:, 0, :2], sigma[:, 1, 2:] = 1, 1
    fine = Problem(
        seeds=seeds.reshape(1, 12, 4),
        edges=volume_edges(image, 3, 9.0, 1.0),
        n_classes=2,
        sigma=sigma.reshape(1, 2, 12, 4),
        depth=3,
    )
    coarse = fine.coarsen()
    assert coarse.seeds.reshape(2, 2, 2).tolist() == [[[1, -1], [-1, -1]], [[-1, -1], [-1, 0]]]
    assert coarse.sigma is not None
    torch.testing.assert_close(coarse.sigma.reshape(2, 2, 2, 2)[0, 0], torch.ones(2, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(coarse.sigma.reshape(2, 2, 2, 2)[1, 1], torch.ones(2, 2), atol=1e-4, rtol=0)


def test_masked_voxels_take_no_part() -> None:
    image, scribbles, truth = ball()
    mask = np.ones(image.shape, bool)
    mask[:, :, 25:] = False
    broken = image.astype(float)
    broken[~mask] = np.nan
    solution = solve(broken, scribbles, mask=mask)
    assert (solution.probabilities[:, ~mask] == 0.5).all()
    assert ((solution.labels == 2) == truth)[mask].mean() > 0.97


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neighborhood": "grid8"}, "joins pixels of one plane only; choose grid4"),
        ({"unary": np.ones((2, 30, 30))}, r"unary of shape \(K, D, H, W\) = \(2, 12, 30, 30\)"),
        ({"mask": np.ones((30, 30))}, "mask of size 12 x 30 x 30"),
        ({"spacing": 0}, "Expected spacing to be a number from 0.01"),
    ],
)
def test_what_a_volume_refuses(change: dict[str, Any], message: str) -> None:
    image, scribbles, _ = ball()
    with pytest.raises(InputError, match=message):
        solve(image, scribbles, **change)


def test_images_that_do_not_fit_scribbles_with_three_axes() -> None:
    image, scribbles, _ = ball()
    with pytest.raises(InputError, match="differ in size: 11 x 30 x 30 and 12 x 30 x 30"):
        solve(image[1:], scribbles)
    with pytest.raises(InputError, match=r"volume of shape \(D, H, W\) or \(D, H, W, C\).* got 2 dimensions"):
        solve(image[0], scribbles)
    with pytest.raises(InputError, match="look like the colours of an image"):
        solve(image[..., :3], scribbles[..., :3])
    broken = image.astype(float)
    broken[3, 4, 5] = np.nan
    with pytest.raises(InputError, match="the first at plane 3, row 4, column 5"):
        solve(broken, scribbles)
