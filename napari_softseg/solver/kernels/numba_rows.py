"""The fused CPU solve: sixteen pixels of a row at a time, compiled once for all P and H.

It is the arithmetic of :mod:`napari_softseg.solver.kernels.torch_sweep` in float32. What is summed over the
classes of sixteen pixels stays in registers (lanes.py), what is needed again soon stays in the cache.

Labels lie row by row, in each row class by class (H, K, stride), in flat arrays with a margin at both
ends: a neighbour is a constant distance away, and one that would leave the image has weight zero.
(Planes (K, H, W) of a power-of-two width would all fall into the same few lines of the cache.)
What is only read, sigma and the maps, stays in planes. An edge is computed once, at the pixel it starts
from, and remembered for the other where that is in this row or the next.

Of a small image all of this is one call, the coarser copy first: what lies between its sweeps, waking
threads above all, would take as long as they do.
"""

from __future__ import annotations

import numpy as np

from napari_softseg.solver.kernels.lanes import floats_at, place
from napari_softseg.solver.kernels.numba_compile import kernel, part
from napari_softseg.solver.kernels.numba_crew import claim, hand_in, wait_for
from napari_softseg.solver.kernels.numba_ends import settle, start
from napari_softseg.solver.kernels.numba_levels import NOT, WHERE_QUIET, Level
from napari_softseg.solver.kernels.numba_passes import sweep
from napari_softseg.solver.kernels.numba_terms import CD, H_CCE

_START, _CLEAR, _SWEEP, _SETTLE = 0, 1, 2, 3


@part
def _one_task(  # type: ignore[no-untyped-def]
    kind, plain, relaxation, cross_entropy, level, coarser, turn, rung, on, report, image, band
):
    """Do a band of rows of an image: its share of a pass."""
    height, width = level.free.shape[1], level.free.shape[2]
    bands = level.settled.shape[1]
    top, bottom = height * band // bands, height * (band + 1) // bands
    now, pulled = level.labels[turn, image], level.dense[0, image]
    if kind == _START:
        source = level.source[image] if level.source[image] != 0 else coarser[image]
        start(
            source,
            level.steps,
            level.lines,
            level.seeds[image],
            level.free[image],
            level.held[image],
            now,
            level.shape,
            level.margin,
            top,
            bottom,
        )
    elif kind == _CLEAR and band == 0:  # the source may lie where margins do
        for slot in range(4):
            flat = floats_at(level.labels[slot, image])
            end = level.margin + level.shape[0] * level.shape[1] * level.shape[2]
            for at in range(level.margin):
                flat[at] = flat[end + at] = np.float32(0)
    elif kind == _SWEEP:
        sweep(
            plain,
            relaxation,
            cross_entropy,
            level.eta,
            level.lambda_,
            level.tolerance,
            level.ladder[rung, 0],
            level.ladder[rung, 1],
            level.offsets,
            place(level.weights[image]),
            place(level.free[image]),
            width,
            floats_at(level.sigma[image]),
            floats_at(pulled),
            floats_at(level.dense[1, image]),
            pulled != 0,
            floats_at(now if on else level.labels[3 - turn, image]),
            floats_at(now),
            floats_at(level.labels[1 - turn, image]),
            floats_at(level.labels[2 + turn, image]),
            level.shape,
            level.margin,
            level.past,
            top,
            bottom,
            report[image, band],
        )
    elif kind == _SETTLE:
        settle(
            relaxation,
            cross_entropy,
            level.offsets,
            place(level.weights[image]),
            place(level.free[image]),
            width,
            floats_at(level.sigma[image]),
            floats_at(now),
            floats_at(level.result[image]),
            level.shape,
            level.margin,
            top,
            bottom,
            level.settled[image, band],
        )


@part
def _descend(plain, number, threads, relaxation, cross_entropy, level, coarser):  # type: ignore[no-untyped-def]
    """Start, sweep until little moves, and settle, as far as the level says so; return where the labels are.

    Each thread takes bands of rows as it comes; the passes over all of them follow on each other as the driver's rules
    have it (`_descend` in majorize_minimize.py): where a pass finds an energy higher than the last, it is made again
    from the labels. So there may be twice as many passes as sweeps.
    """
    batch, bands = level.settled.shape[0], level.settled.shape[1]
    rung, on, last = level.rungs.copy(), level.on_labels.copy(), level.lasts.copy()
    energy = np.empty(batch)
    passes, tried, sweeps, again, quiet, tasks = 0, 0, 0, False, False, batch * bands
    kind = _START if level.starts else _SWEEP
    while True:
        if kind == _SWEEP and (quiet or sweeps == level.most):
            if level.settles == NOT or (level.settles == WHERE_QUIET and not quiet):
                break
            kind = _SETTLE
        for step in range(tasks):
            task = (number * tasks // threads + step) % tasks
            if claim(place(level.board), task, passes):
                image, band = task // bands, task % bands
                _one_task(
                    kind,
                    plain,
                    relaxation,
                    cross_entropy,
                    level,
                    coarser,
                    (level.swept + sweeps) % 2,
                    rung[image],
                    on[image],
                    level.report[min(tried, 2 * level.most - 1)],
                    image,
                    band,
                )
                hand_in(place(level.board))
        passes += 1
        wait_for(place(level.board), passes * tasks)
        if kind == _SETTLE:
            break
        if kind != _SWEEP:
            kind += 1
            continue
        # all threads conclude the same
        worse, quiet = False, True
        for b in range(batch):
            pair_energy, unary_energy, moved = 0.0, 0.0, 0.0
            for band in range(bands):
                pair_energy += level.report[tried, b, band, 0]
                unary_energy += level.report[tried, b, band, 1]
                moved += level.report[tried, b, band, 2]
            energy[b] = level.eta * unary_energy + level.lambda_ * pair_energy
            worse |= energy[b] > last[b]
            quiet &= moved / 2.0 <= level.still[b]
        tried += 1
        again = worse and not again
        if again:
            quiet = False
            for b in range(batch):
                if energy[b] > last[b]:
                    rung[b], on[b] = 0, True
            continue
        level.energies[sweeps] = energy.sum()
        sweeps += 1
        for b in range(batch):
            last[b], on[b] = energy[b], False
            rung[b] += 1
    level.ended[0], level.ended[1], level.ended[2] = sweeps, quiet, kind == _SETTLE
    level.rungs_after[:] = rung
    level.lasts_after[:] = last
    return level.labels[(level.swept + sweeps) % 2] + 4 * level.margin


@part
def _solve(plain, number, threads, relaxation, cross_entropy, levels, first):  # type: ignore[no-untyped-def]
    reached = levels[0].source
    for which in range(first, 2):
        reached = _descend(plain, number, threads, relaxation, cross_entropy, levels[which], reached)


@kernel
def solve_rows(
    number: int, threads: int, relaxation: int, cross_entropy: int, levels: tuple[Level, Level], first: int
) -> None:
    """Work on a batch of images, together with other threads that call this alike.

    Parameters
    ----------
    number, threads
        Which of how many threads this is.
    relaxation, cross_entropy
        P and H by their numbers.
    levels
        The coarser one comes first.
    first
        1: the second level alone.
    """
    _solve(False, number, threads, relaxation, cross_entropy, levels, first)


@kernel
def plain_solve_rows(
    number: int, threads: int, relaxation: int, cross_entropy: int, levels: tuple[Level, Level], first: int
) -> None:
    """Do what `solve_rows` does for CD and CCE on the 4-grid, what a solve has unless it is told otherwise.

    The compiler drops whatever else there is.
    """
    _solve(True, number, threads, CD, H_CCE, levels, first)
