"""The pseudo-label sub-problem as tensors, its energy, and its coarser copies.

``E(y) = eta * sum_{i free} H(y_i, sigma_i) + lambda * sum_{ij} w_ij P(y_i, y_j)`` over y_i in the
simplex, y one-hot on the seeds (Zhang & Boykov, CVPR 2025, equation 6 with sigma fixed). Sums, not
means; every undirected edge once; edges between two seeds are left out, they carry no variable.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field, replace
from functools import cached_property, reduce

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_softseg.options import DEFAULTS, CrossEntropy, Relaxation
from napari_softseg.solver.cross_entropy import CROSS_ENTROPIES, FLOOR
from napari_softseg.solver.dense import DenseEdges
from napari_softseg.solver.neighborhood import Edges, coarsen_edges, drop_seed_edges, edge_ends
from napari_softseg.solver.relaxations import CLASS_DIM, RELAXATIONS, impurity, wide_type
from napari_softseg.solver.solution import EnergyTerms
from napari_softseg.solver.volume import coarsen_volume_edges, planes
from napari_softseg.threads import alone

_ALL = slice(None)

_LINE, _PLACES, _LINES_APART = 16, 64, 17
"""Numbers in a line of the processor's cache, its places for lines (each for a few), and the step between planes."""

FIXED_SHARE = 1e-3
"""Weight of a fixed pixel in a coarser sigma, where a free one has this more than 1: keeps blocks of seeds finite."""


@dataclass(frozen=True, slots=True)
class Pairwise:
    """What all edges say at the current labels."""

    pull: Tensor
    """(B, K, H, W): sum of w g y_j over the neighbours."""
    stay: Tensor
    """(B, H, W): sum of w h, without the factor 1/|y|^2 of the normalised relaxations."""
    energy: Tensor
    """(B,) float64: sum of w P, not yet times lambda."""


@dataclass(frozen=True)
class Problem:
    """A batch of sub-problems of one size.

    Parameters
    ----------
    seeds : (B, H, W) int64 tensor
        Class index 0..K-1 on strokes, -1 elsewhere.
    edges : Edges
        Weight maps from :func:`~napari_softseg.solver.neighborhood.grid_edges`.
    n_classes : int
        K >= 2.
    sigma : (B, K, H, W) float tensor or None
        Unary distributions; None drops the unary term.
    valid : (B, H, W) bool tensor or None
        False on padding, which takes no part; None means all pixels count.
    relaxation, cross_entropy : str
        Names of P and H.
    eta, lambda_ : float
        Weights of the unary and the pairwise term, >= 0.
    dense : DenseEdges or None
        Edges between all pairs, from :func:`~napari_softseg.solver.dense.dense_edges`, besides those
        in `edges` (which may then be empty); `relaxation` must be one of those it goes with.
    depth : int
        D where the H rows are those of D planes of a volume (:mod:`~napari_softseg.solver.volume`).
    held : (B, K, H, W) float tensor or None
        Labels that pixels outside of `valid` hold, at the rim of a part of an image; None: uniform.
    prepared : bool
        Whether seeds, edges and sigma are already what this class makes of those it is given: no seeds outside of
        `valid`, no edges between seeds, sigma nowhere below the floor. They are then kept, not copied.
    """

    seeds: Tensor
    edges: Edges
    n_classes: int
    sigma: Tensor | None = None
    valid: Tensor | None = None
    relaxation: str = DEFAULTS.relaxation
    cross_entropy: str = DEFAULTS.cross_entropy
    eta: float = DEFAULTS.eta
    lambda_: float = DEFAULTS.lambda_
    dense: DenseEdges | None = None
    depth: int = 1
    held: Tensor | None = None
    prepared: InitVar[bool] = False
    _given: list[tuple[weakref.ref[Tensor], int]] = field(init=False, repr=False, compare=False)

    def __post_init__(self, prepared: bool) -> None:
        maps = (*self.edges.values(), *([] if self.sigma is None else [self.sigma]))
        object.__setattr__(self, "_given", [(weakref.ref(one), one._version) for one in maps])
        if not prepared:
            self._prepare()

    @alone()
    def _prepare(self) -> None:
        seeds = self.seeds if self.valid is None else torch.where(self.valid, self.seeds, -1)
        object.__setattr__(self, "seeds", seeds)
        object.__setattr__(self, "edges", drop_seed_edges(self.edges, seeds))
        if self.sigma is not None:
            object.__setattr__(self, "sigma", _floored(self.sigma))
        if self.eta == 0:
            object.__setattr__(self, "sigma", None)

    @property
    def dtype(self) -> torch.dtype:
        """Floating type the labels are stored in."""
        if self.dense is not None:
            return self.dense.degree.dtype
        return next(iter(self.edges.values())).dtype

    @property
    def reach(self) -> int:
        """Rows between the two ends of the longest edge."""
        if self.dense is not None:
            return self.seeds.shape[-2]
        return max(dy for dy, _ in self.edges)

    def has_maps_of(self, other: Problem) -> bool:
        """Return whether both were made of the very same edges and sigma; False where that is not known.

        Their edges then differ between seeds alone.
        """
        both = zip(self._given, other._given, strict=False)
        return len(self._given) == len(other._given) and all(
            mine() is not None and mine() is theirs() and version == its_version
            for (mine, version), (theirs, its_version) in both
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Problem:
        """Return the same problem on another device and in another floating type."""
        return replace(
            self,
            seeds=self.seeds.to(device),
            edges={offset: weight.to(device, dtype) for offset, weight in self.edges.items()},
            sigma=None if self.sigma is None else self.sigma.to(device, dtype),
            valid=None if self.valid is None else self.valid.to(device),
            held=None if self.held is None else self.held.to(device, dtype),
            dense=None if self.dense is None else self.dense.to(device, dtype),
        )

    @cached_property
    @alone()
    def free(self) -> Tensor:
        """(B, H, W) bool: pixels whose label is a variable."""
        free = self.seeds < 0
        return free if self.valid is None else free & self.valid

    @cached_property
    def fixed_labels(self) -> Tensor:
        """(B, K, H, W): one-hot on the seeds, uniform elsewhere."""
        shape = (len(self.seeds), self.n_classes, *self.seeds.shape[1:])
        return self.constrain(
            torch.full(shape, 1 / self.n_classes, dtype=self.dtype, device=self.seeds.device)
        )

    @cached_property
    def _fixed(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Image, row and column of every pixel that is not free, and their labels (N, K)."""
        batch, rows, columns = torch.nonzero(~self.free, as_tuple=True)
        classes = self.seeds[batch, rows, columns]
        labels = F.one_hot(classes.clamp_min(0), self.n_classes).to(self.dtype)
        outside = classes < 0
        if self.held is None:
            labels[outside] = 1 / self.n_classes
        else:
            held = self.held[batch[outside], :, rows[outside], columns[outside]]
            labels[outside] = held.to(self.dtype)
        return batch, rows, columns, labels

    @alone()
    def constrain(self, y: Tensor) -> Tensor:
        """Return a copy of `y` (B, K, H, W) with the labels of seeds and padding put right."""
        batch, rows, columns, labels = self._fixed
        constrained = y.clone()
        constrained[batch, :, rows, columns] = labels.to(y)
        return constrained

    @alone()
    def start(self) -> Tensor:
        """Return the starting labels: sigma where there is one, else uniform."""
        return self.fixed_labels if self.sigma is None else self.constrain(self.sigma.to(self.dtype))

    def pairwise(self, y: Tensor, rows: slice = _ALL) -> Pairwise:
        """Return pull, stay and energy of all edges at the labels `y` (B, K, H, W).

        The energy counts edges that start in `rows` only.
        """
        terms = RELAXATIONS[Relaxation.named(self.relaxation)]
        height, width = y.shape[-2:]
        u = impurity(y)
        pull = torch.zeros_like(y)
        stay = torch.zeros_like(u)
        energy = torch.zeros(y.shape[0], dtype=wide_type(y), device=y.device)
        for offset, weights in self.edges.items():
            starts, ends = edge_ends(offset, height, width)
            p, q = y[..., *starts], y[..., *ends]
            w, up, uq = weights[..., *starts], u[..., *starts], u[..., *ends]
            s = (p * q).sum(CLASS_DIM)
            g = (w * terms.pull(s, up, uq)).unsqueeze(CLASS_DIM)
            pull[..., *starts].addcmul_(g, q)
            pull[..., *ends].addcmul_(g, p)
            if terms.stay is not None:
                h = w * terms.stay(s, up, uq)
                stay[..., *starts] += h
                stay[..., *ends] += h
            energy += (w * terms.value(s, up, uq))[..., rows, :].sum((-2, -1), dtype=energy.dtype)
        if self.dense is not None:
            dense = self.dense_pairwise(y)
            return Pairwise(pull + dense.pull, stay + dense.stay, energy + dense.energy)
        return Pairwise(pull, stay, energy)

    def dense_pairwise(self, y: Tensor) -> Pairwise:
        """Return what :meth:`pairwise` does, of the dense edges alone (there must be some)."""
        assert self.dense is not None
        relaxation = Relaxation.named(self.relaxation)
        pull = self.dense.pull(y)
        # half of an edge at either end, less those that join two seeds
        halves = self.dense.energy(relaxation, y, pull) - self._energy_among_seeds
        return Pairwise(pull, self.dense.stay(relaxation), halves.sum((-2, -1), dtype=wide_type(y)))

    @cached_property
    def _energy_among_seeds(self) -> Tensor:
        """(B, H, W): what dense edges between two seeds cost, half at either end."""
        assert self.dense is not None
        seeds = torch.where((self.seeds >= 0).unsqueeze(CLASS_DIM), self.fixed_labels, 0.0)
        # at one-hot labels all relaxations agree
        return self.dense.energy(Relaxation.BL, seeds, self.dense.pull(seeds))

    def unary_energy(self, y: Tensor, rows: slice = _ALL) -> Tensor:
        """Return (B,) float64: the sum of H over the free pixels in `rows`, not yet times eta."""
        wide = wide_type(y)
        if self.sigma is None:
            return torch.zeros(y.shape[0], dtype=wide, device=y.device)
        value = CROSS_ENTROPIES[CrossEntropy.named(self.cross_entropy)].value(y, self.sigma)
        return torch.where(self.free, value, 0.0)[..., rows, :].sum((-2, -1), dtype=wide)

    def energies(self, y: Tensor) -> Tensor:
        """Return (B,) the energy of each image of the batch at `y`, summed in float64."""
        return self.eta * self.unary_energy(y) + self.lambda_ * self.pairwise(y).energy

    def window(self, rows: slice) -> Problem:
        """Return the problem on some rows only, with the edges among them."""
        return replace(
            self,
            seeds=self.seeds[..., rows, :],
            edges={offset: weight[..., rows, :] for offset, weight in self.edges.items()},
            sigma=None if self.sigma is None else self.sigma[..., rows, :],
            valid=None if self.valid is None else self.valid[..., rows, :],
            held=None if self.held is None else self.held[..., rows, :],
        )

    def crop(self, rows: slice, columns: slice, inner: Tensor, held: Tensor) -> Problem:
        """Return the problem on a window whose pixels outside of `inner` hold their labels.

        `inner` is (B, h, w) bool and `held` (B, K, h, w), both of the window's size. Not for volumes, and
        not with dense edges.
        """
        part = (..., rows, columns)
        edges = {}
        for offset, weight in self.edges.items():  # without those that would leave the window
            starts, _ = edge_ends(offset, *inner.shape[-2:])
            edges[offset] = torch.zeros_like(weight[part])
            edges[offset][..., *starts] = weight[part][..., *starts]
        return replace(
            self,
            seeds=self.seeds[part],
            edges=edges,
            sigma=None if self.sigma is None else self.sigma[part],
            valid=inner if self.valid is None else inner & self.valid[part],
            held=held,
        )

    def energy_terms(self, y: Tensor) -> EnergyTerms:
        """Return both energy terms of the whole batch, computed in float64 throughout."""
        exact = self.to(torch.device("cpu"), torch.float64)
        y = y.cpu().double()
        return EnergyTerms(
            unary=self.eta * float(exact.unary_energy(y).sum()),
            pairwise=self.lambda_ * float(exact.pairwise(y).energy.sum()),
        )

    def coarsen(self) -> Problem:
        """Return the problem on blocks of 2 x 2 pixels, a cheap start for this one (not with dense edges).

        Edges join by summing, sigma by averaging, strokes are kept (a block with strokes
        of two classes is left free), eta counts the four pixels of a block. The blocks of a volume have
        2 x 2 x 2 voxels; its planes have more than two rows.
        """
        free = self.free.to(self.dtype).unsqueeze(1)
        sigma = None
        if self.sigma is not None:
            weight = free + FIXED_SHARE
            sigma = _block_sum(self.sigma.to(self.dtype) * weight, self.depth)
            sigma = sigma / _block_sum(weight, self.depth)
        seeds = planes(self.seeds, self.depth, even=-1)
        joined = [seeds[:, ::2], seeds[:, 1::2]] if self.depth > 1 else [seeds]
        blocks = [
            plane[..., row::2, column::2].flatten(1, 2)
            for plane in joined
            for row in (0, 1)
            for column in (0, 1)
        ]
        highest = reduce(torch.maximum, blocks)
        # unsigned: -1, no stroke, is higher than any class
        lowest = reduce(torch.minimum, [block.to(torch.int64) & 0xFFFF for block in blocks])
        return replace(
            self,
            seeds=torch.where(highest == lowest, highest, -1),
            edges=coarsen_volume_edges(self.edges, self.depth)
            if self.depth > 1
            else coarsen_edges(self.edges),
            sigma=sigma,
            valid=None
            if self.valid is None
            else _block_sum(self.valid.to(self.dtype).unsqueeze(1), self.depth)[:, 0] > 0,
            held=None if self.held is None else _block_sum(self.held, self.depth) / 4,
            eta=(8 if self.depth > 1 else 4) * self.eta,
            depth=(self.depth + 1) // 2,
        )


def refine(y: Tensor, height: int, width: int, depth: int = 1) -> Tensor:
    """Return coarse labels (B, K, h, w) copied to the pixels of each block, cut to height x width in all."""
    y = planes(y, (depth + 1) // 2)
    *outer, d, h, w = y.shape
    twice = (*outer, d, min(depth, 2), h, 2, w, 2)
    y = y[..., :, None, :, None, :, None].expand(twice).reshape(*outer, d * min(depth, 2), 2 * h, 2 * w)
    return y[..., :depth, : height // depth, :width].flatten(-3, -2)


def _floored(sigma: Tensor) -> Tensor:
    """Return a copy that is nowhere below the floor, on the CPU with some lines of its cache between the planes.

    A sweep reads all planes at once: were their size a power of two, all would share the same few places there.
    """
    if sigma.device.type != "cpu":
        return sigma.clamp_min(FLOOR)
    return torch.clamp(sigma, min=FLOOR, out=planes_apart(sigma.shape, sigma.dtype))


def planes_apart(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return an empty (B, K, H, W) tensor on the CPU for sigma, with those lines between its planes."""
    *images, height, width = shape
    lines = -(-height * width // _LINE)
    lines += (_LINES_APART - lines) % _PLACES
    # NumPy asks for large pages, which take a tenth of the time to come by
    numbers = np.empty((*images, lines * _LINE * dtype.itemsize), np.uint8)
    apart = torch.from_numpy(numbers).view(dtype)
    result: Tensor = apart[..., : height * width].unflatten(-1, (height, width))
    return result


def _block_sum(x: Tensor, depth: int) -> Tensor:
    x = planes(x, depth, even=0)
    rows = x[..., ::2, :] + x[..., 1::2, :]
    blocks = rows[..., ::2] + rows[..., 1::2]
    if depth > 1:
        blocks = blocks[..., ::2, :, :] + blocks[..., 1::2, :, :]
    return blocks.flatten(-3, -2)
