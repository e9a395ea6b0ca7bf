"""Pseudo-labels of a batch: the solver's answer to what the network says of it just now."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_softseg.options import Neighborhood
from napari_softseg.solver.dense import dense_edges
from napari_softseg.solver.discrete import solve_discrete
from napari_softseg.solver.majorize_minimize import Minimum, iter_majorize_minimize
from napari_softseg.solver.neighborhood import Edges, grid_edges
from napari_softseg.solver.problem import Problem
from napari_softseg.solver.relaxations import CLASS_DIM
from napari_softseg.solver.solution import drain
from napari_softseg.training.options import TrainOptions


def batch_problem(
    images: Tensor,
    seeds: Tensor,
    valid: Tensor,
    n_classes: int,
    options: TrainOptions,
    sigma: Tensor | None = None,
) -> Problem:
    """Return the pseudo-label problem of a whole batch, at the size of its images.

    Parameters
    ----------
    images : (B, C, H, W) float tensor
        Intensities in 0..255: the edges are those a viewer or the command line sees in the same image.
    seeds : (B, H, W) int64 tensor
        Class index on strokes, -1 elsewhere.
    valid : (B, H, W) bool tensor
        False on padding: no unary, no edges.
    n_classes : int
        K.
    options : TrainOptions
        Relaxation, cross-entropy, neighbourhood, bandwidth, reach, eta and lambda.
    sigma : (B, K, H, W) float tensor, optional
        What the network says; None leaves the unary out.
    """
    dense = options.neighborhood == Neighborhood.DN
    edges: Edges = {} if dense else grid_edges(images, options.neighborhood, options.bandwidth, valid)
    return Problem(
        seeds=seeds,
        edges=edges,
        dense=dense_edges(images, options.bandwidth, options.reach, valid) if dense else None,
        n_classes=n_classes,
        sigma=sigma,
        valid=valid,
        relaxation=options.relaxation,
        cross_entropy=options.cross_entropy,
        eta=options.eta,
        lambda_=options.lambda_,
    )


def cut_labels(problem: Problem) -> Tensor:
    """Return hard labels of low discrete energy as one-hot ones, (B, K, H, W) float.

    The relaxation of `problem` does not matter, its neighbourhood does.
    """
    return _one_hot(solve_discrete(problem), problem.n_classes).to(problem.dtype)


def soft_labels(problem: Problem, sweeps: int) -> Minimum:
    """Return the solver's labels (B, K, H, W), one-hot on the seeds, after `sweeps` sweeps.

    Never fewer: a tolerance would make the labels of an image depend on the others of its batch, and
    training on one process differ from that on several.
    """
    return drain(iter_majorize_minimize(problem, max_sweeps=sweeps, tolerance=0.0))


def most_likely(labels: Tensor) -> Tensor:
    """Return soft labels (B, K, H, W) as one-hot ones of their most likely class, same shape and dtype."""
    return _one_hot(labels.argmax(CLASS_DIM), labels.shape[CLASS_DIM]).to(labels)


def with_noise(labels: Tensor, free: Tensor, share: float) -> Tensor:
    """Return labels (B, K, H, W), of which a share of the free pixels (B, H, W) has a class drawn at random.

    Any class is as likely, the right one too. Torch's own generator draws.
    """
    if share == 0:
        return labels
    n_classes = labels.shape[CLASS_DIM]
    wrong = free & (torch.rand(free.shape, device=free.device) < share)
    drawn = _one_hot(torch.randint(n_classes, free.shape, device=free.device), n_classes).to(labels)
    return torch.where(wrong.unsqueeze(CLASS_DIM), drawn, labels)


def _one_hot(classes: Tensor, n_classes: int) -> Tensor:
    return F.one_hot(classes, n_classes).movedim(-1, CLASS_DIM)
