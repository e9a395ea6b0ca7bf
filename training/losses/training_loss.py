"""The loss of one batch: terms, their weights, and what they are divided by.

Two normalisations, of which eta and lambda mean different things:

``seeds``
    Every sum is divided by the number of stroke pixels in the batch, as in the paper's ancestor
    (dmitrii-marin/robust_trust_region). The ratio of the terms is that of the energy; strokes that cover
    little of the image make pseudo-labels weigh more against them. A batch without strokes has loss 0.
``means``
    The strokes' sum is divided by the number of stroke pixels, sums over free pixels and over edges by the
    number of free pixels (real pixels without a stroke). A term that sums over nothing is 0.

Cross-entropy on complete masks is the mean over labelled pixels either way. With class balance, stroke pixels
of rare classes count several times in the strokes' sum and in what it is divided by, nowhere else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from napari_softseg.errors import InputError
from napari_softseg.options import CrossEntropy, Neighborhood, SolveOptions
from napari_softseg.solver.api import check_method
from napari_softseg.solver.relaxations import CLASS_DIM
from napari_softseg.training.losses.terms import entropy, labelled, potts, self_labelling
from napari_softseg.training.options import HardLabels, Loss, Normalisation, TrainOptions
from napari_softseg.training.pseudo_labels import (
    batch_problem,
    cut_labels,
    most_likely,
    soft_labels,
    with_noise,
)

if TYPE_CHECKING:
    from napari_softseg.training.data import Batch


@dataclass(frozen=True, slots=True)
class LossTerms:
    """The loss of one batch."""

    total: Tensor
    """Scalar with a graph: the sum of all terms."""
    terms: dict[str, float]
    """What each term contributes, weights and normalisation included: ``pce`` on strokes, ``ce`` on masks,
    ``self``, ``entropy``, ``potts`` (in self-labelling of the pseudo-labels: part of the joint loss, but
    constant for the network)."""
    pseudo_labels: Tensor | None
    """(B, K, H, W) float, what the batch was trained on besides its strokes; None where on nothing else."""


class TrainingLoss(nn.Module):
    """The loss that `options` name, on batches of strokes or masks.

    Parameters
    ----------
    options : TrainOptions
    n_classes : int
        K.

    Raises
    ------
    InputError
        If the relaxation does not go with the neighbourhood.
    """

    def __init__(self, options: TrainOptions, n_classes: int) -> None:
        super().__init__()
        if options.loss == Loss.HARD and options.hard_labels == HardLabels.CUT:
            options = replace(options, neighborhood=Neighborhood.GRID8)  # as the trust region's graph cut
        elif options.loss in (Loss.SELF, Loss.HARD, Loss.GD):
            check_method(SolveOptions(relaxation=options.relaxation, neighborhood=options.neighborhood))
        self.options = options
        self.n_classes = n_classes

    def forward(self, logits: Tensor, batch: Batch, *, stage: int, counts: Tensor | None = None) -> LossTerms:
        """Return the loss of a batch.

        Parameters
        ----------
        logits : (B, K, H, W) float tensor
            Of the size of the batch's images; half precision is widened first.
        batch : Batch
            On the same device.
        stage : int
            1: strokes alone; 2: what the options name.
        counts : (1 + K,) float tensor, optional
            What sums are divided by, if not by :meth:`counts` of this batch: where gradients of several
            batches are averaged, the mean of their counts gives the loss of one batch with all crops.

        Raises
        ------
        InputError
            If loss full meets a batch without masks.
        """
        with torch.autocast(logits.device.type, enabled=False):
            wide = logits if logits.dtype == torch.float64 else logits.float()
            return self._loss(
                wide, batch, stage, self.counts(batch, stage=stage) if counts is None else counts
            )

    def counts(self, batch: Batch, *, stage: int) -> Tensor:
        """Return the numbers of pixels without a label and of each class: (1 + K,) float64, float32 on mps."""
        labels, free = self._labelled_and_free(batch, stage)
        counted = torch.bincount(labels.flatten() + 1, minlength=self.n_classes + 1)
        counted[0] = free.sum()  # not padding
        return counted.to(torch.float32 if counted.device.type == "mps" else torch.float64)

    def uninformed(self, counts: Tensor, *, stage: int) -> float:
        """Return the most that a network loses that finds all classes equally likely, but for Potts.

        Parameters
        ----------
        counts : (1 + K,) float tensor
            From :meth:`counts`, or a mean of such.
        stage : int
            1 or 2.
        """
        options, loss = self.options, self._in(stage)
        shares = 1.0
        if options.normalisation == Normalisation.SEEDS:
            free_pixels, labelled_pixels = float(counts[0]), float(counts[1:].sum())
            shares = free_pixels / labelled_pixels if labelled_pixels else 0.0
        weight = {Loss.SELF: options.eta, Loss.HARD: options.eta, Loss.GD: self._entropy_weight}.get(
            loss, 0.0
        )
        return math.log(self.n_classes) * (1 + weight * shares)

    @property
    def _entropy_weight(self) -> float:
        return self.options.eta if self.options.entropy is None else self.options.entropy

    def _labelled_and_free(self, batch: Batch, stage: int) -> tuple[Tensor, Tensor]:
        """Return the class index of pixels that have a label, else -1, and which real pixels have none."""
        labels = batch.seeds
        if self._in(stage) == Loss.FULL:
            if batch.truth is None:
                raise InputError("Loss full needs complete masks, but this folder has none; add masks/.")
            labels = batch.truth
        labels = torch.where(batch.valid, labels, -1)
        return labels, batch.valid & (labels < 0)

    def _class_weights(self, pixels: Tensor) -> Tensor:
        """Return (K,) what a stroke pixel of each class counts, given how many there are."""
        most = torch.where(pixels > 0, pixels.max() * _share(pixels), 1.0)
        return most.clamp(max=self.options.class_balance)

    def _in(self, stage: int) -> Loss:
        """Return what the network is trained on in a stage."""
        return Loss.PCE if stage == 1 else Loss.named(self.options.loss)

    def _loss(self, logits: Tensor, batch: Batch, stage: int, counts: Tensor) -> LossTerms:
        options, loss = self.options, self._in(stage)
        seeds, free = self._labelled_and_free(batch, stage)
        of_free, of_seeds = _share(counts[0]).to(logits), _share(counts[1:].sum()).to(logits)
        if loss == Loss.FULL:
            return _joined({"ce": labelled(logits, seeds) * of_seeds})
        if options.normalisation == Normalisation.SEEDS:
            of_free = of_seeds
        weights = self._class_weights(counts[1:])
        terms = {"pce": labelled(logits, seeds, weights.to(logits)) * _share(weights @ counts[1:]).to(logits)}
        if loss == Loss.PCE:
            return _joined(terms)
        images = batch.images.to(logits.dtype)
        if loss == Loss.GD:
            if self._entropy_weight > 0:
                terms["entropy"] = self._entropy_weight * entropy(logits, free) * of_free
            nothing = torch.full_like(seeds, -1)
            problem = batch_problem(images, nothing, batch.valid, self.n_classes, options)
            terms["potts"] = potts(logits, problem) * of_free
            return _joined(terms)
        labels, pairwise = self.pseudo_labels(logits.detach().softmax(CLASS_DIM), images, seeds, batch.valid)
        labels = with_noise(labels, free, options.label_noise)
        cross_entropy = options.cross_entropy
        if pairwise is not None:
            terms["potts"] = pairwise * of_free
        elif cross_entropy == CrossEntropy.CCE:
            cross_entropy = CrossEntropy.CE  # equal on one-hot labels, and exact however small sigma is
        terms["self"] = options.eta * self_labelling(logits, labels, cross_entropy, free) * of_free
        return _joined(terms, labels)

    def pseudo_labels(
        self, sigma: Tensor, images: Tensor, seeds: Tensor, valid: Tensor
    ) -> tuple[Tensor, float | None]:
        """Return what losses self and hard train on, and of soft labels the Potts term of their energy.

        Parameters
        ----------
        sigma : (B, K, H, W) float tensor
            What the network says.
        images : (B, C, H, W) float tensor
            Intensities in 0..255.
        seeds : (B, H, W) int64 tensor
            Class index on strokes, -1 elsewhere.
        valid : (B, H, W) bool tensor
            False on padding.

        Returns
        -------
        (B, K, H, W) float tensor and float or None
        """
        options = self.options
        problem = batch_problem(images, seeds, valid, self.n_classes, options, sigma)
        if options.loss == Loss.HARD and options.hard_labels == HardLabels.CUT:
            return cut_labels(problem), None
        minimum = soft_labels(problem, options.sweeps)
        if options.loss == Loss.HARD:
            return most_likely(minimum.labels), None
        return minimum.labels, minimum.terms.pairwise


def _share(counts: Tensor) -> Tensor:
    """Return ``1 / counts``, 0 where there is nothing."""
    return torch.where(counts > 0, counts, torch.inf).reciprocal()


def _joined(terms: dict[str, Tensor], pseudo_labels: Tensor | None = None) -> LossTerms:
    values = torch.stack(list(terms.values()))
    named = dict(zip(terms, values.detach().tolist(), strict=True))
    return LossTerms(values.sum(), named, pseudo_labels)
