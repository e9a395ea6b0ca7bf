"""The fused CPU sweep: sixteen pixels of a row at a time, compiled once for all P and H.

It is the arithmetic of :mod:`napari_softseg.solver.kernels.torch_sweep` in float32. What is summed over the
classes of sixteen pixels stays in registers (lanes.py), what is needed again soon stays in the cache.

Labels lie row by row, in each row class by class (H, K, stride), in flat arrays with a margin at both
ends: a neighbour is a constant distance away, and one that would leave the image has weight zero.
(Planes (K, H, W) of a power-of-two width would all fall into the same few lines of the cache.)
What is only read, sigma and the maps, stays in planes. An edge is computed once, at the pixel it starts
from, and remembered for the other where that is in this row or the next.
"""

from __future__ import annotations

import numpy as np

from napari_softseg.solver.kernels.lanes import floats_at, place
from napari_softseg.solver.kernels.numba_compile import kernel, part
from napari_softseg.solver.kernels.numba_crew import claim, hand_in, wait_for
from napari_softseg.solver.kernels.numba_passes import sweep
from napari_softseg.solver.kernels.numba_terms import CD, H_CCE


@part
def _descend(  # type: ignore[no-untyped-def]
    plain,
    number,
    threads,
    board,
    relaxation,
    cross_entropy,
    eta,
    lambda_,
    tolerance,
    ladder,
    rungs,
    lasts,
    offsets,
    weights,
    free,
    sigma,
    dense,
    labels,
    swept,
    on_labels,
    shape,
    margin,
    past,
    still,
    most,
    report,
    energies,
    rungs_after,
    lasts_after,
    ended,
):
    """See `sweep_rows`; `plain` where there are nearest neighbours only, P is CD and H is CCE."""
    batch, bands, height, width = report.shape[1], report.shape[2], free.shape[1], free.shape[2]
    rung, on, energy, last = rungs.copy(), on_labels.copy(), np.empty(batch), lasts.copy()
    passes, sweeps, again, tasks = 0, 0, False, batch * bands
    while True:
        turn = (swept + sweeps) % 2
        for step in range(tasks):
            task = (number * tasks // threads + step) % tasks
            if not claim(place(board), task, passes):
                continue
            image, band = task // bands, task % bands
            now = labels[turn, image]
            sweep(
                plain,
                relaxation,
                cross_entropy,
                eta,
                lambda_,
                tolerance,
                ladder[rung[image], 0],
                ladder[rung[image], 1],
                offsets,
                place(weights[image]),
                place(free[image]),
                width,
                floats_at(sigma[image]),
                floats_at(dense[0, image]),
                floats_at(dense[1, image]),
                dense[0, image] != 0,
                floats_at(now if on[image] else labels[3 - turn, image]),
                floats_at(now),
                floats_at(labels[1 - turn, image]),
                floats_at(labels[2 + turn, image]),
                shape,
                margin,
                past,
                height * band // bands,
                height * (band + 1) // bands,
                report[passes, image, band],
            )
            hand_in(place(board))
        # all threads conclude the same
        wait_for(place(board), (passes + 1) * tasks)
        worse, quiet = False, True
        for b in range(batch):
            pair_energy, unary_energy, moved = 0.0, 0.0, 0.0
            for band in range(bands):
                pair_energy += report[passes, b, band, 0]
                unary_energy += report[passes, b, band, 1]
                moved += report[passes, b, band, 2]
            energy[b] = eta * unary_energy + lambda_ * pair_energy
            worse |= energy[b] > last[b]
            quiet &= moved / 2.0 <= still[b]
        passes += 1
        again = worse and not again
        if again:
            for b in range(batch):
                if energy[b] > last[b]:
                    rung[b], on[b] = 0, True
            continue
        energies[sweeps] = energy.sum()
        sweeps += 1
        for b in range(batch):
            last[b], on[b] = energy[b], False
            rung[b] += 1
        if quiet or sweeps == most:
            break
    ended[0], ended[1] = sweeps, quiet
    rungs_after[:] = rung
    lasts_after[:] = last


@kernel
def sweep_rows(  # type: ignore[no-untyped-def]
    number,
    threads,
    board,
    relaxation,
    cross_entropy,
    eta,
    lambda_,
    tolerance,
    ladder,
    rungs,
    lasts,
    offsets,
    weights,
    free,
    sigma,
    dense,
    labels,
    swept,
    on_labels,
    shape,
    margin,
    past,
    still,
    most,
    report,
    energies,
    rungs_after,
    lasts_after,
    ended,
):
    """Sweep all images of a batch until little moves, together with other threads that call this alike.

    Each thread takes bands of rows as it comes; the passes over all of them follow on each other as the driver's rules
    have it (`_descend` in majorize_minimize.py): where a pass finds an energy higher than the last, it is made again
    from the labels. So there may be twice as many passes as sweeps.

    Parameters
    ----------
    number, threads : int
        Which of how many threads this is.
    board : (8 + B * bands,) int64
        Zeros, see numba_crew.py.
    relaxation, cross_entropy : int
        P and H by their numbers.
    eta, lambda_ : float32
    tolerance : float32
        Largest difference of a label's sum from one before its last correction.
    ladder : (R, 2) float32
        How far the next point lies ahead (extrapolation.py), after so many sweeps without a restart.
    rungs : (B,) int64
        Rung of the ladder that each image is on.
    lasts : (B,) float64
        Energy of each image at the point before, or more than any can be.
    offsets : (O, 2) int64
        (dy, dx) of every kind of edge, first those with dy <= 1.
    weights : (B, O, H, W) float32
        Edge weights at the pixel the edge starts from, zero where it leaves the image.
    free : (B, H, W) uint8
        1 where the label is a variable, else 0.
    sigma : (B,) int64
        Addresses of float32, (H, W) for every class, the next one's S numbers on. Not read without a unary.
    dense : (2, B) int64
        Addresses of what dense edges add to the sum of w g y_j, which lies like the labels, and to that of w h,
        (H, W); zero where there are none.
    labels : (4, B) int64
        Addresses of float32, (M + H*K*stride + M,), where M is the margin: labels lie in turn in the first and the
        second, points in the third and the fourth. A sweep starts from the labels that the last one led to and from
        the point, extrapolated from them, where the majoriser touches.
    swept : int
        How many sweeps were made: with an even number the labels are in the first.
    on_labels : (B,) bool
        Where the point is the labels themselves.
    shape : (4,) int64
        H, K, stride, S.
    margin : int
    past : int
        1 where what is written is more than the cache holds, and so better stays out of it; all flat arrays must then
        begin with one of its lines.
    still : (B,) float64
        It ends when no more label mass than this moves, in any image.
    most : int
        Most sweeps.
    report : (2 * most, B, bands, 3) float64
        Receives sum w P, sum H, and the sum of |new - point| of every pass, image and band.
    energies : (most,) float64
        Receives the energy of all images at the points of the sweeps.
    rungs_after, lasts_after : like `rungs` and `lasts`
        Receive what those are after the last sweep.
    ended : (2,) int64
        Receives the number of sweeps, and whether little moved in the last one.
    """
    _descend(
        False,
        number,
        threads,
        board,
        relaxation,
        cross_entropy,
        eta,
        lambda_,
        tolerance,
        ladder,
        rungs,
        lasts,
        offsets,
        weights,
        free,
        sigma,
        dense,
        labels,
        swept,
        on_labels,
        shape,
        margin,
        past,
        still,
        most,
        report,
        energies,
        rungs_after,
        lasts_after,
        ended,
    )


@kernel
def plain_sweep_rows(  # type: ignore[no-untyped-def]
    number,
    threads,
    board,
    relaxation,
    cross_entropy,
    eta,
    lambda_,
    tolerance,
    ladder,
    rungs,
    lasts,
    offsets,
    weights,
    free,
    sigma,
    dense,
    labels,
    swept,
    on_labels,
    shape,
    margin,
    past,
    still,
    most,
    report,
    energies,
    rungs_after,
    lasts_after,
    ended,
):
    """Do what `sweep_rows` does for CD and CCE on the 4-grid, what a solve has unless it is told otherwise.

    The compiler drops whatever else there is.
    """
    _descend(
        True,
        number,
        threads,
        board,
        CD,
        H_CCE,
        eta,
        lambda_,
        tolerance,
        ladder,
        rungs,
        lasts,
        offsets,
        weights,
        free,
        sigma,
        dense,
        labels,
        swept,
        on_labels,
        shape,
        margin,
        past,
        still,
        most,
        report,
        energies,
        rungs_after,
        lasts_after,
        ended,
    )
