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

from napari_softseg.solver.kernels.numba_compile import kernel
from napari_softseg.solver.kernels.numba_passes import sweep
from napari_softseg.solver.kernels.numba_terms import CD, H_CCE


@kernel
def sweep_rows(  # type: ignore[no-untyped-def]
    relaxation,
    cross_entropy,
    eta,
    lambda_,
    tolerance,
    momentum,
    over,
    offsets,
    weights,
    free,
    sigma,
    far_pull,
    far_stay,
    point,
    labels,
    new_labels,
    new_point,
    shape,
    margin,
    past,
    top,
    bottom,
    report,
):
    """Update the rows top..bottom-1 of one image.

    Parameters
    ----------
    relaxation, cross_entropy : int
        P and H by their numbers.
    eta, lambda_ : float32
    tolerance : float32
        Largest difference of a label's sum from one before its last correction.
    momentum, over : float32
        How far the next point lies ahead (extrapolation.py).
    offsets : (O, 2) int64
        (dy, dx) of every kind of edge, first those with dy <= 1.
    weights : (O, H, W) float32
        Edge weights at the pixel the edge starts from, zero where it leaves the image.
    free : (H, W) uint8
        1 where the label is a variable, else 0.
    sigma : flat float32
        (H, W) for every class, the next one's S numbers on. Not read without a unary.
    point, labels, new_labels, new_point : (M + H*K*stride + M,) float32
        `labels` are those the last step led to; `point`, extrapolated from them, is where the majoriser
        touches. `new_labels` and `new_point` are written. M is the margin.
    far_pull : like `point`, or empty
        What dense edges add to the sum of w g y_j.
    far_stay : (H, W) float32, or empty
        What they add to that of w h.
    shape : (4,) int64
        H, K, stride, S.
    margin : int
    past : int
        1 where what is written is more than the cache holds, and so better stays out of it; the flat arrays must
        begin with one of its lines.
    top, bottom : int
    report : (3,) float64
        Receives sum w P, sum H, and the sum of |new - point|.
    """
    sweep(
        False,
        relaxation,
        cross_entropy,
        eta,
        lambda_,
        tolerance,
        momentum,
        over,
        offsets,
        weights,
        free,
        sigma,
        far_pull,
        far_stay,
        point,
        labels,
        new_labels,
        new_point,
        shape,
        margin,
        past,
        top,
        bottom,
        report,
    )


@kernel
def plain_sweep_rows(  # type: ignore[no-untyped-def]
    relaxation,
    cross_entropy,
    eta,
    lambda_,
    tolerance,
    momentum,
    over,
    offsets,
    weights,
    free,
    sigma,
    far_pull,
    far_stay,
    point,
    labels,
    new_labels,
    new_point,
    shape,
    margin,
    past,
    top,
    bottom,
    report,
):
    """Do what `sweep_rows` does for CD and CCE on the 4-grid, what a solve has unless it is told otherwise.

    The compiler drops whatever else there is.
    """
    sweep(
        True,
        CD,
        H_CCE,
        eta,
        lambda_,
        tolerance,
        momentum,
        over,
        offsets,
        weights,
        free,
        sigma,
        far_pull,
        far_stay,
        point,
        labels,
        new_labels,
        new_point,
        shape,
        margin,
        past,
        top,
        bottom,
        report,
    )
