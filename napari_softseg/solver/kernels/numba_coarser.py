"""The coarser copy of a problem by the kernel of numba_coarsen.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from napari_softseg.solver.kernels.numba_arrays import bytes_of, flat_planes, stacked
from napari_softseg.solver.kernels.numba_ready import COMPILED, share, threads_for
from napari_softseg.solver.neighborhood import coarse_parts
from napari_softseg.solver.problem import FIXED_SHARE, Problem, planes_apart

_SHORT = 4
"""How much longer a sweep takes than to coarsen as many numbers."""


def coarsen(problem: Problem) -> Problem:
    """Return the problem on blocks of 2 x 2 pixels, as `Problem.coarsen` does.

    Not for volumes, and not where pixels are held.
    """
    kernels = COMPILED.kernels().coarsen
    batch, height, width = problem.seeds.shape
    h, w = (height + 1) // 2, (width + 1) // 2
    sigma, plane = flat_planes(problem.sigma, batch)
    seeds, free = problem.seeds.contiguous().numpy(), bytes_of(problem.free)
    valid = np.empty((batch, 0, 0), np.uint8) if problem.valid is None else bytes_of(problem.valid)
    n_classes = 0 if problem.sigma is None else problem.n_classes
    means = None if problem.sigma is None else planes_apart((batch, n_classes, h, w), torch.float32)
    found, coarse_plane = flat_planes(means, batch)
    strokes, inside = np.empty((batch, h, w), np.int64), np.ones((batch, h, w), np.uint8)
    fine, parts = sorted(problem.edges), list(coarse_parts(problem.edges))
    offsets = sorted({offset for _, offset, *_ in parts})
    joined = np.array([(fine.index(one), offsets.index(other), *at) for one, other, *at in parts], np.int64)
    edges = stacked([problem.edges[offset] for offset in fine])
    weights = np.zeros((batch, len(offsets), h, w), np.float32)  # as the sweep takes them

    def rows(b: int, top: int, bottom: int) -> None:
        kernels.coarsen_rows(
            sigma[b], plane, seeds[b], free[b], valid[b], np.float32(FIXED_SHARE), n_classes, edges[b],
            joined.reshape(-1, 5), found[b], coarse_plane, strokes[b], inside[b], weights[b], top, bottom,
        )  # fmt: skip

    def edges_of(b: int, top: int, bottom: int) -> None:
        kernels.drop_between_seeds(
            strokes[b], np.array(offsets, np.int64).reshape(-1, 2), weights[b], top, bottom
        )

    threads = threads_for(height * width * problem.n_classes // _SHORT)
    tasks = [
        (b, h * band // threads, h * (band + 1) // threads) for b in range(batch) for band in range(threads)
    ]
    share(threads, rows, tasks)
    share(threads, edges_of, tasks)  # once all seeds are there
    maps = torch.from_numpy(weights)
    return replace(
        problem,
        seeds=torch.from_numpy(strokes),
        edges={offset: maps[:, number] for number, offset in enumerate(offsets)},
        sigma=means,
        valid=None if problem.valid is None else torch.from_numpy(inside).bool(),
        eta=4 * problem.eta,
        prepared=True,
    )
