"""Graphs of regions: pixels joined step by step, so that one move relabels a whole region.

A graph of N nodes is ``first`` (N + 1,) int64, ``heads`` (E,) int32, ``weights`` (E,) float32: the
neighbours of node i are ``heads[first[i]:first[i + 1]]``, every edge stands at both of its ends. Costs
(N, K) float32 are what a node pays for each class, labels (N,) int32 the classes they have.

Numba builds code on disk anew when its own file changes, not for another's: what both files of these
kernels must know alike is passed to them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit


def kernel(function: Callable[..., Any]) -> Any:
    """Compile the function when it is first called, and keep the code on disk where that can be written."""
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # neither beside this file nor at home: every process compiles for itself
        return njit(nogil=True, error_model="numpy")(function)


@kernel
def pixel_graph(weights, offsets, tiny):  # type: ignore[no-untyped-def]
    """Return the graph of an image's pixels.

    Parameters
    ----------
    weights : (O, N) float32
        Of the edges from pixel i to i + offsets[o]; those up to `tiny` are left out.
    offsets : (O,) int64, > 0
    tiny : float32
    """
    n_offsets, n = weights.shape
    first = np.zeros(n + 1, np.int64)
    for o in range(n_offsets):
        step = offsets[o]
        for i in range(n - step):
            joined = np.int64(weights[o, i] > tiny)
            first[i + 1] += joined
            first[i + step + 1] += joined
    for i in range(n):
        first[i + 1] += first[i]
    heads, out = np.empty(first[n], np.int32), np.empty(first[n], np.float32)
    for i in range(n):
        e = first[i]
        for o in range(n_offsets):
            j = i - offsets[o]
            if j >= 0 and weights[o, j] > tiny:
                heads[e], out[e] = j, weights[o, j]
                e += 1
            j = i + offsets[o]
            if j < n and weights[o, i] > tiny:
                heads[e], out[e] = j, weights[o, i]
                e += 1
    return first, heads, out


@kernel
def join(first, heads, weights, costs, labels, forbidden, keep_labels):  # type: ignore[no-untyped-def]
    """Join nodes with a neighbour each (a step of Boruvka's, a little slower: see below).

    With `keep_labels` it is the one most strongly tied of those with the same label. Without, nodes join
    where their best common class costs less than their edge saves, and with the neighbour that saves most;
    who has been chosen does not choose, so that regions grow evenly. Costs from `forbidden` on rule a class
    out; no region ends with all of them ruled out.

    Returns
    -------
    region : (N,) int32
        Number of the region each node is now in, -1 for nodes without an edge.
    n_regions : int
    """
    n, n_classes = costs.shape
    root = np.arange(n).astype(np.int32)
    lowest = np.zeros(0 if keep_labels else n, np.float32)
    chosen = np.zeros(lowest.size, np.bool_)
    only = np.full(lowest.size, -1, np.int32)  # the one class a root may have
    for i in range(lowest.size):
        best, highest = 0, costs[i, 0]
        for k in range(1, n_classes):
            highest = max(highest, costs[i, k])
            if costs[i, k] < costs[i, best]:
                best = k
        lowest[i] = costs[i, best]
        if highest >= forbidden:
            only[i] = best
    for i in range(n):
        best, strongest = -1, np.float32(0)
        if keep_labels:
            for e in range(first[i], first[i + 1]):
                if weights[e] > strongest and labels[heads[e]] == labels[i]:
                    best, strongest = heads[e], weights[e]
        elif not chosen[i]:
            for e in range(first[i], first[i + 1]):
                j = heads[e]
                # no more than the edge can be saved
                if weights[e] <= strongest:
                    continue
                common = costs[i, 0] + costs[j, 0]
                for k in range(1, n_classes):
                    common = min(common, costs[i, k] + costs[j, k])
                saved = weights[e] + lowest[i] + lowest[j] - common
                if saved > strongest:
                    best, strongest = j, saved
        if best >= 0:
            a, b = _root(root, i), _root(root, best)
            if not keep_labels:
                if only[a] >= 0 and only[b] >= 0 and only[a] != only[b]:
                    continue
                chosen[i] = chosen[best] = True
                only[min(a, b)] = max(only[a], only[b])
            root[max(a, b)] = min(a, b)
    region = np.empty(n, np.int32)
    n_regions = 0
    for i in range(n):  # a root is the first of its region
        if root[i] != i:
            region[i] = region[_root(root, i)]
        elif first[i] == first[i + 1]:
            region[i] = -1
        else:
            region[i] = n_regions
            n_regions += 1
    return region, n_regions


@kernel
def _root(root, i):  # type: ignore[no-untyped-def]
    while root[i] != i:
        root[i] = root[root[i]]
        i = root[i]
    return i


@kernel
def contract(first, heads, weights, costs, labels, region, n_regions):  # type: ignore[no-untyped-def]
    """Return the graph of the regions, its costs, and the label of each region's first node.

    Costs add up, and so do the edges between two regions.
    """
    n, n_classes = costs.shape
    begin = np.zeros(n_regions + 1, np.int64)
    for i in range(n):
        if region[i] >= 0:
            begin[region[i] + 1] += 1
    for r in range(n_regions):
        begin[r + 1] += begin[r]
    members, place = np.empty(begin[n_regions], np.int32), begin[:-1].copy()
    for i in range(n):
        if region[i] >= 0:
            members[place[region[i]]] = i
            place[region[i]] += 1
    new_first = np.zeros(n_regions + 1, np.int64)
    new_heads, new_weights = np.empty(heads.size, np.int32), np.empty(heads.size, np.float32)
    new_costs, new_labels = np.zeros((n_regions, n_classes), np.float32), np.empty(n_regions, np.int32)
    seen = np.full(n_regions, -1, np.int64)
    end = 0
    for r in range(n_regions):
        new_labels[r] = labels[members[begin[r]]]
        for m in range(begin[r], begin[r + 1]):
            i = members[m]
            for k in range(n_classes):
                new_costs[r, k] += costs[i, k]
            for e in range(first[i], first[i + 1]):
                q = region[heads[e]]
                if q == r:
                    continue
                if seen[q] >= new_first[r]:
                    new_weights[seen[q]] += weights[e]
                else:
                    seen[q] = end
                    new_heads[end], new_weights[end] = q, weights[e]
                    end += 1
        new_first[r + 1] = end
    return new_first, new_heads[:end].copy(), new_weights[:end].copy(), new_costs, new_labels


@kernel
def relabel(first, heads, weights, costs, labels):  # type: ignore[no-untyped-def]
    """Give every node in turn the class that is best for it (iterated conditional modes).

    Returns
    -------
    (M,) int32
        The nodes then next to another label.
    """
    n, n_classes = costs.shape
    price, border = np.empty(n_classes, np.float32), np.empty(n, np.int32)
    for i in range(n):
        for k in range(n_classes):
            price[k] = costs[i, k]
        for e in range(first[i], first[i + 1]):
            price[labels[heads[e]]] -= weights[e]
        best = labels[i]
        for k in range(n_classes):
            if price[k] < price[best]:
                best = k
        labels[i] = best
    m = 0
    for i in range(n):
        for e in range(first[i], first[i + 1]):
            if labels[heads[e]] != labels[i]:
                border[m] = i
                m += 1
                break
    return border[:m]
