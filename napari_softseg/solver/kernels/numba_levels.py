"""What the fused CPU solve is told of a batch of images, and where it puts what it finds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

AT_END, WHERE_QUIET, NOT = 2, 1, 0
"""When labels are settled: after the last sweep, only if little moved in it, or not at all."""


class Level(NamedTuple):
    """A batch of images at one size, and what is to be done with their labels.

    Addresses are those of float32 numbers. They and all arrays are int64 unless said otherwise.
    """

    eta: np.float32
    lambda_: np.float32
    tolerance: np.float32
    """Largest difference of a label's sum from one before its last correction."""
    offsets: npt.NDArray[np.int64]
    """(O, 2): (dy, dx) of every kind of edge, first those with dy <= 1."""
    weights: npt.NDArray[np.float32]
    """(B, O, H, W) float32: edge weights at the pixel the edge starts from, zero where it leaves the image."""
    free: npt.NDArray[np.uint8]
    """(B, H, W) uint8: 1 where the label is a variable, else 0."""
    seeds: npt.NDArray[np.int64]
    """(B, H, W): class index on strokes, negative elsewhere."""
    held: npt.NDArray[np.float32]
    """(B, K, H, W) float32, or empty: labels of fixed pixels without a stroke; uniform where empty."""
    sigma: npt.NDArray[np.int64]
    """(B,): addresses, (H, W) for every class, the next one's S numbers on. Not read without a unary."""
    labels: npt.NDArray[np.int64]
    """(4, B): addresses, (M + H*K*stride + M,), where M is the margin.

    Labels lie in turn in the first and the second, points in the third and the fourth. A sweep starts from the labels
    that the last one led to and from the point, extrapolated from them, where the majoriser touches."""
    shape: npt.NDArray[np.int64]
    """(4,): H, K, stride, S."""
    margin: int
    past: int
    """1 where what is written is more than the cache holds, and so better stays out of it; labels must then
    begin with one of its lines."""
    starts: bool
    """Whether the labels are to be made first."""
    source: npt.NDArray[np.int64]
    """(B,): addresses of what they are made of; zero: the labels of the coarser level."""
    steps: npt.NDArray[np.int64]
    """(3,): numbers from one class of the source to the next, from one row to the next, and how many pixels of a row
    take the same label, 1 or 2."""
    lines: npt.NDArray[np.int64]
    """(H,): row of the source for every row of the image."""
    most: int
    """Most sweeps."""
    still: npt.NDArray[np.float64]
    """(B,) float64: they end when no more label mass than this moves, in any image."""
    ladder: npt.NDArray[np.float32]
    """(R, 2) float32: how far the next point lies ahead (extrapolation.py), after so many sweeps without a restart."""
    rungs: npt.NDArray[np.int64]
    """(B,): rung of the ladder that each image is on."""
    lasts: npt.NDArray[np.float64]
    """(B,) float64: energy of each image at the point before, or more than any can be."""
    swept: int
    """How many sweeps were made: with an even number the labels are in the first."""
    on_labels: npt.NDArray[np.bool_]
    """(B,) bool: where the point is the labels themselves."""
    dense: npt.NDArray[np.int64]
    """(2, B): addresses of what dense edges add to the sum of w g y_j, which lies like the labels, and to that of w h,
    (H, W); zero where there are none."""
    settles: int
    """When labels are divided by their sum, and their energy is summed."""
    result: npt.NDArray[np.int64]
    """(B,): addresses of where they are then put, (K, H, W)."""
    board: npt.NDArray[np.int64]
    """(8 + B * bands,): zeros, see numba_crew.py."""
    report: npt.NDArray[np.float64]
    """(2 * most, B, bands, 3) float64: receives sum w P, sum H, and the sum of |new - point| of every sweep, also of
    those that are made again, in every image and band."""
    settled: npt.NDArray[np.float64]
    """(B, bands, 2) float64: receives sum w P and sum H of the settled labels."""
    energies: npt.NDArray[np.float64]
    """(most,) float64: receives the energy of all images at the points of the sweeps."""
    rungs_after: npt.NDArray[np.int64]
    """Receives the rungs after the last sweep."""
    lasts_after: npt.NDArray[np.float64]
    """Receives the energies at the last point."""
    ended: npt.NDArray[np.int64]
    """(3,): receives the number of sweeps, whether little moved in the last one, and whether labels were settled."""
