"""The terms of the energy and what they say to the next labels, for sixteen pixels at a time (lanes.py).

What differs between relaxations branches per sixteen pixels. Labels of one class lie `stride` numbers behind
those of the last; the scratch arrays of a kernel hold sixteen numbers of each class.
"""

from __future__ import annotations

import numpy as np

from napari_softseg.solver.kernels.lanes import COUNT, fill, higher, load, log, root, soon_read
from napari_softseg.solver.kernels.numba_compile import part

BL, Q, NQ, CCE, LQ, CD = range(6)
"""Numbers of the relaxations, in the order of the enumeration Relaxation."""

NO_UNARY, H_CE, H_RCE, H_CCE = range(-1, 3)
"""Numbers of the cross-entropies, in the order of the enumeration CrossEntropy."""

FLOOR = np.float32(1e-6)
TINY = np.float32(1e-30)
ZERO, ONE, TWO, FOUR = np.float32(0), np.float32(1), np.float32(2), np.float32(4)
HALF, QUARTER = np.float32(0.5), np.float32(0.25)


@part
def part_of_row(plane, row, x, width, beyond, spare):  # type: ignore[no-untyped-def]
    """Return the numbers at x.. of a row of maps (..., width), and `beyond` where they would leave it."""
    at = row * width + x
    if x >= 0 and x + COUNT <= width:
        return load(plane, at)
    for lane in range(COUNT):
        inside = x + lane >= 0 and x + lane < width
        spare[lane] = np.float32(plane[at + lane]) if inside else beyond
    return load(spare, 0)


@part
def overlap(p, at, q, there, stride, n_classes):  # type: ignore[no-untyped-def]
    """Return the sum over the classes of p q."""
    s = fill(ZERO)
    for k in range(n_classes):
        s += load(p, at + k * stride) * load(q, there + k * stride)
    return s


@part
def edge(relaxation, w, s, u, v):  # type: ignore[no-untyped-def]
    """Return w times pull and w times stay, as in the table of relaxations.py."""
    if relaxation == BL:
        return w, fill(ZERO)
    if relaxation == Q:
        return w, w
    if relaxation == NQ:
        pull = w / root((ONE - u) * (ONE - v))
        return pull, pull * s
    if relaxation == CCE:
        return w / higher(s, TINY), fill(ZERO)
    if relaxation == LQ:
        pull = w / higher(s + (u + v) * HALF, TINY)
        return pull, pull
    return w / higher(s, TINY), w


@part
def edge_energy(relaxation, w, s, u, v):  # type: ignore[no-untyped-def]
    """Return w P."""
    if relaxation == BL:
        return w * (ONE - s)
    if relaxation == Q:
        return w * (ONE - (s + (u + v) * HALF))
    if relaxation == NQ:
        return w * (ONE - s / root((ONE - u) * (ONE - v)))
    if relaxation == CCE:
        return ZERO - w * log(higher(s, TINY))
    if relaxation == LQ:
        return ZERO - w * log(higher(s + (u + v) * HALF, TINY))
    return (ZERO - HALF) * w * log(higher(s * s / ((ONE - u) * (ONE - v)), TINY))


@part
def overlap_and_impurity(p, at, q, there, stride, n_classes):  # type: ignore[no-untyped-def]
    """Return the sums over the classes of p q and of q (1 - q)."""
    s, v = fill(ZERO), fill(ZERO)
    for k in range(n_classes):
        soon_read(q, there + k * stride)
        other = load(q, there + k * stride)
        s += load(p, at + k * stride) * other
        v += other * (ONE - other)
    return s, v


@part
def unary(cross_entropy, y, at, stride, n_classes, sigma, there, sigma_stride, eta):  # type: ignore[no-untyped-def]
    """Return the unary's weight of ln y over sigma (CCE) or over one, and H."""
    energy = fill(ZERO)
    if cross_entropy == NO_UNARY:
        return energy, energy
    if cross_entropy == H_CCE:
        s = fill(ZERO)
        for k in range(n_classes):
            soon_read(sigma, there + k * sigma_stride)
            s += load(y, at + k * stride) * load(sigma, there + k * sigma_stride)
        s = higher(s, TINY)
        return eta / s, ZERO - log(s)
    for k in range(n_classes):
        old, guess = load(y, at + k * stride), load(sigma, there + k * sigma_stride)
        if cross_entropy == H_RCE:
            energy -= guess * log(higher(old, FLOOR))
        else:
            energy -= old * log(higher(guess, FLOOR))
    return fill(eta if cross_entropy == H_RCE else ZERO), energy


@part
def sigma_at(sigma, row, x, plane, width, n_classes, spare):  # type: ignore[no-untyped-def]
    """Return where the numbers of sigma at x.. of a row lie: pointer, place, and stride.

    Sigma is (K, H, width), its planes `plane` numbers apart. Those at the end of a row, where sixteen would
    leave it, are copied to `spare`.
    """
    if x + COUNT <= width:
        return sigma, row * width + x, plane
    for k in range(n_classes):
        for lane in range(COUNT):
            inside = x + lane < width
            spare[k * COUNT + lane] = sigma[k * plane + row * width + x + lane] if inside else ONE
    return spare, 0, COUNT
