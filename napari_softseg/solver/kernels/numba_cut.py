"""Expansion moves: let a class take, of the nodes near it, the set that lowers the energy most.

The set is a minimum cut (Boykov, Veksler & Zabih 2001), found by growing a tree from either terminal and
repairing the trees after each augmentation (Boykov & Kolmogorov 2004).
Graphs are those of :mod:`napari_softseg.solver.kernels.numba_regions`.
"""

from __future__ import annotations

import numpy as np

from napari_softseg.solver.kernels.numba_regions import kernel

_FREE, _TERMINAL, _ORPHAN = -1, -2, -3
_FAR = 1 << 30


@kernel
def expand(  # type: ignore[no-untyped-def]
    first, heads, weights, costs, labels, forbidden, alpha, border, hops, place
):
    """Give `alpha` to the best set of nodes within `hops` edges of those that have it; they alone vary.

    Parameters
    ----------
    first, heads, weights, costs
        The graph.
    labels : (N,) int32, changed
    forbidden : float32
        Costs from here on rule a class out.
    alpha : int
    border : (M,) int32
        Nodes next to another label.
    hops : int
        0: all nodes vary.
    place : (N,) int32
        Room to work in: -1 everywhere, and so again afterwards.

    Returns
    -------
    int
        How many nodes changed.
    """
    nodes = _near(first, heads, costs, labels, forbidden, alpha, border, hops, place)
    n = nodes.size
    most = 0
    for i in range(n):
        most += first[nodes[i] + 1] - first[nodes[i]]
    arcs, heads_of, onward = np.full(n, -1, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    room, excess = np.empty(most, np.float32), np.empty(n, np.float32)
    half, n_arcs = np.float32(0.5), 0
    for p in range(n):
        i = nodes[p]
        label = labels[i]
        gain = costs[i, label] - costs[i, alpha]
        for e in range(first[i], first[i + 1]):
            j, w = heads[e], weights[e]
            q = place[j]
            if q < 0:
                if labels[j] == alpha:
                    gain += w
                elif labels[j] == label:
                    gain -= w
                continue
            if labels[j] != label:
                # w where not both take alpha: half of it for each that does not, half if one does
                w *= half
                gain += w
            if q < p:
                heads_of[n_arcs], heads_of[n_arcs + 1] = q, p
                room[n_arcs], room[n_arcs + 1] = w, w
                onward[n_arcs], onward[n_arcs + 1] = arcs[p], arcs[q]
                arcs[p], arcs[q] = n_arcs, n_arcs + 1
                n_arcs += 2
        excess[p] = gain
    takes = _minimum_cut(arcs, heads_of, onward, room, excess)
    changed = 0
    for p in range(n):
        place[nodes[p]] = -1
        if takes[p]:
            labels[nodes[p]] = alpha
            changed += 1
    return changed


@kernel
def _near(  # type: ignore[no-untyped-def]
    first, heads, costs, labels, forbidden, alpha, border, hops, place
):
    """Return the nodes that may take alpha, nearest first; sets their places among them."""
    nodes = np.empty(labels.size, np.int32)
    n = 0
    if hops == 0:
        for i in range(labels.size):
            if labels[i] != alpha and costs[i, alpha] < forbidden:
                place[i], nodes[n] = n, i
                n += 1
        return nodes[:n]
    for i in border:
        if labels[i] == alpha or costs[i, alpha] >= forbidden:
            continue
        for e in range(first[i], first[i + 1]):
            if labels[heads[e]] == alpha:
                place[i], nodes[n] = n, i
                n += 1
                break
    begin = 0
    for _ in range(1, hops):
        end = n
        for p in range(begin, end):
            i = nodes[p]
            for e in range(first[i], first[i + 1]):
                j = heads[e]
                if place[j] < 0 and labels[j] != alpha and costs[j, alpha] < forbidden:
                    place[j], nodes[n] = n, j
                    n += 1
        begin = end
    return nodes[:n]


@kernel
def _minimum_cut(arcs, heads, onward, room, excess):  # type: ignore[no-untyped-def]
    """Return which nodes are on the source's side of the minimum cut, as few as can be.

    Parameters
    ----------
    arcs : (n,) int32
        First arc of each node; arc a ^ 1 is a the other way round.
    heads, onward : (E,) int32
        Where an arc leads, and the next arc out of the same node, -1 after the last.
    room : (E,) float32, changed
        Capacity of each arc.
    excess : (n,) float32, changed
        Capacity from the source, or, negative, to the sink.
    """
    n = arcs.size
    parent = np.full(n, _FREE, np.int32)  # arc towards the root
    sinks = np.zeros(n, np.bool_)
    depth, checked = np.zeros(n, np.int32), np.zeros(n, np.int32)  # edges to the root, true at that time
    queue, queued = np.empty(n + 1, np.int32), np.zeros(n, np.bool_)
    orphans = np.empty(n, np.int32)
    head, tail = 0, 0
    for i in range(n):
        if excess[i] != 0:
            parent[i], sinks[i], depth[i] = _TERMINAL, excess[i] < 0, 1
            queue[tail], queued[i] = i, True
            tail += 1
    time = 0
    while head != tail:
        i = queue[head]
        if parent[i] == _FREE:
            meeting = -1
        else:
            meeting = -1
            a = arcs[i]
            while a >= 0:
                if room[a ^ 1 if sinks[i] else a] > 0:
                    j = heads[a]
                    if parent[j] == _FREE:
                        parent[j], sinks[j] = a ^ 1, sinks[i]
                        depth[j], checked[j] = depth[i] + 1, checked[i]
                        if not queued[j]:
                            queue[tail], queued[j] = j, True
                            tail = tail + 1 if tail < n else 0
                    elif sinks[j] != sinks[i]:
                        meeting = a ^ 1 if sinks[i] else a  # from the source's tree to the sink's
                        break
                    elif checked[j] <= checked[i] and depth[j] > depth[i]:
                        parent[j] = a ^ 1
                        depth[j], checked[j] = depth[i] + 1, checked[i]
                a = onward[a]
        if meeting < 0:
            queued[i] = False
            head = head + 1 if head < n else 0
            continue
        time += 1
        n_orphans = _augment(heads, parent, room, excess, orphans, meeting)
        # adoption: last in, first out
        while n_orphans > 0:
            n_orphans -= 1
            i = orphans[n_orphans]
            best, nearest = -1, _FAR
            a = arcs[i]
            while a >= 0:
                j = heads[a]
                if parent[j] != _FREE and sinks[j] == sinks[i] and room[a if sinks[i] else a ^ 1] > 0:
                    away = _to_root(heads, parent, depth, checked, time, j)
                    if away < nearest:
                        best, nearest = a, away
                a = onward[a]
            if best >= 0:
                parent[i], depth[i], checked[i] = best, nearest + 1, time
                continue
            parent[i] = _FREE
            a = arcs[i]
            while a >= 0:
                j = heads[a]
                if parent[j] != _FREE and sinks[j] == sinks[i]:
                    if room[a if sinks[i] else a ^ 1] > 0 and not queued[j]:
                        queue[tail], queued[j] = j, True
                        tail = tail + 1 if tail < n else 0
                    if parent[j] == a ^ 1:
                        parent[j] = _ORPHAN
                        orphans[n_orphans] = j
                        n_orphans += 1
                a = onward[a]
    takes = np.empty(n, np.bool_)
    for i in range(n):
        takes[i] = parent[i] != _FREE and not sinks[i]
    return takes


@kernel
def _augment(heads, parent, room, excess, orphans, meeting):  # type: ignore[no-untyped-def]
    """Send what fits along the path through the arc `meeting`; return how many nodes lost their parent."""
    flow = room[meeting]
    i = heads[meeting ^ 1]
    while parent[i] != _TERMINAL:
        flow = min(flow, room[parent[i] ^ 1])
        i = heads[parent[i]]
    flow = min(flow, excess[i])
    i = heads[meeting]
    while parent[i] != _TERMINAL:
        flow = min(flow, room[parent[i]])
        i = heads[parent[i]]
    flow = min(flow, -excess[i])
    room[meeting] -= flow
    room[meeting ^ 1] += flow
    n = 0
    i = heads[meeting ^ 1]
    while parent[i] != _TERMINAL:
        a = parent[i]
        room[a] += flow
        room[a ^ 1] -= flow
        if room[a ^ 1] <= 0:
            parent[i] = _ORPHAN
            orphans[n] = i
            n += 1
        i = heads[a]
    excess[i] -= flow
    if excess[i] <= 0:
        parent[i] = _ORPHAN
        orphans[n] = i
        n += 1
    i = heads[meeting]
    while parent[i] != _TERMINAL:
        a = parent[i]
        room[a ^ 1] += flow
        room[a] -= flow
        if room[a] <= 0:
            parent[i] = _ORPHAN
            orphans[n] = i
            n += 1
        i = heads[a]
    excess[i] += flow
    if excess[i] >= 0:
        parent[i] = _ORPHAN
        orphans[n] = i
        n += 1
    return n


@kernel
def _to_root(heads, parent, depth, checked, time, start):  # type: ignore[no-untyped-def]
    """Return how many edges a node is from its terminal, _FAR if it hangs on an orphan; notes it down."""
    away, i = 0, start
    while True:
        if checked[i] == time:
            away += depth[i]
            break
        a = parent[i]
        if a in (_ORPHAN, _FREE):
            return _FAR
        away += 1
        if a == _TERMINAL:
            depth[i], checked[i] = 1, time
            break
        i = heads[a]
    i, still = start, away
    while checked[i] != time:
        depth[i], checked[i] = still, time
        still -= 1
        i = heads[parent[i]]
    return away
