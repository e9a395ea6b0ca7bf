"""The public entry: an image and its strokes in, soft pseudo-labels out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from napari_softseg.errors import InputError
from napari_softseg.options import DEFAULTS, Method, Neighborhood, Relaxation, SolveOptions, Unary
from napari_softseg.solver.checks import checked_image, checked_seeds, checked_unary
from napari_softseg.solver.dense import DENSE_RELAXATIONS, dense_edges
from napari_softseg.solver.device import in_its_memory, resolve_device
from napari_softseg.solver.gradient_descent import iter_gradient_descent
from napari_softseg.solver.incremental import IncrementalSolver
from napari_softseg.solver.intensity import to_intensity
from napari_softseg.solver.majorize_minimize import Minimum, iter_majorize_minimize
from napari_softseg.solver.neighborhood import Edges, grid_edges
from napari_softseg.solver.problem import Problem
from napari_softseg.solver.random_walker import iter_random_walker
from napari_softseg.solver.solution import Solution, SolveProgress, Status, drain
from napari_softseg.solver.volume import volume_edges

if TYPE_CHECKING:
    from napari_softseg.unary.pretrained import PretrainedFeatures

UnaryModel = Callable[[npt.NDArray[Any], tuple[int, ...]], npt.NDArray[np.floating[Any]]]
"""A trained model as the unary: called with the image and the class values, returns (K, H, W).

For a volume it returns (K, D, H, W).
"""


def solve(
    image: npt.ArrayLike,
    scribbles: npt.ArrayLike,
    *,
    unary: str | npt.ArrayLike | UnaryModel = DEFAULTS.unary,
    weights: str | PathLike[str] = DEFAULTS.weights,
    relaxation: str = DEFAULTS.relaxation,
    cross_entropy: str = DEFAULTS.cross_entropy,
    neighborhood: str = DEFAULTS.neighborhood,
    eta: float = DEFAULTS.eta,
    lambda_: float = DEFAULTS.lambda_,
    bandwidth: float = DEFAULTS.bandwidth,
    reach: float = DEFAULTS.reach,
    spacing: float = DEFAULTS.spacing,
    method: str = DEFAULTS.method,
    device: str = DEFAULTS.device,
    unlabelled: int = DEFAULTS.unlabelled,
    max_sweeps: int = DEFAULTS.max_sweeps,
    tolerance: float = DEFAULTS.tolerance,
    mask: npt.ArrayLike | None = None,
    classes: Sequence[int] | None = None,
    stop: threading.Event | None = None,
    memory: IncrementalSolver | None = None,
    progress: Callable[[SolveProgress], None] | None = None,
) -> Solution:
    """Turn strokes into a class distribution for every pixel.

    Minimises ``eta * sum H(y, sigma) + lambda * sum w P(y_i, y_j)`` with y one-hot on the strokes.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array
        Any real dtype, any number of channels. 8-bit values are used as they are; for the rule for
        other dtypes see :mod:`napari_softseg.solver.intensity`. With scribbles (D, H, W) it is a
        volume, (D, H, W) or (D, H, W, C), and so are the unary, the mask and the result. Pixels that a
        masked array hides are left out as by `mask`; in scribbles they have no stroke.
    scribbles : (H, W) or (D, H, W) array of ints
        Class value 0..255 on strokes, `unlabelled` elsewhere; at least two classes, or as few as none where
        probabilities or a model are given as the unary, eta is above 0 and `classes` lists the classes.
    unary : str, (K, H, W) array or callable
        ``"classifier"`` (a pixel classifier trained on the strokes), ``"pretrained"`` (the same, which also
        sees the features of a network trained on ImageNet), ``"none"``, probabilities with the classes in
        ascending order, or a model called with (image, classes).
    weights : str or path
        Unary pretrained only: ``"imagenet"``, which is downloaded once, or a file of torchvision's
        mobilenet_v2 (.pth, .pt or .safetensors).
    relaxation : str
        P: bl, q, nq, cce, lq or cd.
    cross_entropy : str
        H: ce, rce or cce. ``method="closed-form"`` has a quadratic unary instead.
    neighborhood : str
        grid4, grid8, sn (sparse non-local) or dn (dense; relaxations bl and q, methods mm and gd).
    eta, lambda_ : float
        Weights of unary and smoothness, >= 0.
    bandwidth : float
        Edge sensitivity in grey values of 0..255.
    reach : float
        Neighborhood dn only: standard deviation, in pixels, of the distance between neighbours.
    spacing : float
        Volumes only: distance of two planes, in pixels of a plane.
    method : str
        mm (default), gd (the paper's 200 steps) or closed-form (relaxation q only).
    device : str
        auto, cpu, cuda, cuda:N or mps.
    unlabelled : int
        Value of pixels without a stroke.
    max_sweeps : int
        Most sweeps on the full-size grid (mm), steps (gd) or iterations per class (closed-form).
    tolerance : float
        ``mm`` stops when a sweep moves less than this share of all label mass (1e-3: a pixel in 1000).
    mask : (H, W) bool array, optional
        True on real pixels; the others take no part and get the uniform distribution.
    classes : sequence of int, optional
        All class values in ascending order, when there are more than the strokes show.
    stop : threading.Event, optional
        Set it from another thread to end early with the result so far.
    memory : IncrementalSolver, optional
        Give the same one for every solve of an image while its strokes change: where the unary stays,
        only what a new stroke changes is solved again (method mm). It keeps the last solution's
        arrays: do not write to them.
    progress : callable, optional
        Called with every :class:`~napari_softseg.solver.solution.SolveProgress`.

    Returns
    -------
    Solution

    Raises
    ------
    InputError
        A ValueError whose message names the value and the way out.

    Notes
    -----
    Zhang & Boykov, "Potts Relaxations and Soft Self-labeling for Weakly-Supervised Segmentation",
    CVPR 2025, equation 6.
    """
    return drain(
        iter_solve(
            image,
            scribbles,
            unary=unary,
            weights=weights,
            relaxation=relaxation,
            cross_entropy=cross_entropy,
            neighborhood=neighborhood,
            eta=eta,
            lambda_=lambda_,
            bandwidth=bandwidth,
            reach=reach,
            spacing=spacing,
            method=method,
            device=device,
            unlabelled=unlabelled,
            max_sweeps=max_sweeps,
            tolerance=tolerance,
            mask=mask,
            classes=classes,
            stop=stop,
            memory=memory,
        ),
        progress,
    )


def iter_solve(
    image: npt.ArrayLike,
    scribbles: npt.ArrayLike,
    *,
    unary: str | npt.ArrayLike | UnaryModel = DEFAULTS.unary,
    mask: npt.ArrayLike | None = None,
    classes: Sequence[int] | None = None,
    stop: threading.Event | None = None,
    memory: IncrementalSolver | None = None,
    **options: Any,
) -> Generator[SolveProgress, None, Solution]:
    """Do what :func:`solve` does as a generator: yields progress, returns the solution.

    `options` are the fields of :class:`~napari_softseg.options.SolveOptions` other than `unary`.
    Bad input raises at the first ``next``.
    """
    began = time.perf_counter()
    if isinstance(unary, str):
        options["unary"] = unary
    chosen = SolveOptions(**options)
    check_method(chosen)
    target = resolve_device(chosen.device)
    axes = 3 if np.ndim(scribbles) == 3 else 2
    pixels, valid = checked_image(image, mask, axes)
    shape = pixels.shape[:axes]
    informed = not isinstance(unary, str) and chosen.eta > 0 and classes is not None
    fewest = 0 if informed else 2
    seeds, values = checked_seeds(scribbles, shape, chosen.unlabelled, classes, valid, fewest)
    if axes == 3:
        check_volume_options(chosen)
    if not isinstance(unary, str) and not callable(unary):
        unary = checked_unary(unary, len(values), shape)
    rows = (-1, shape[-1])  # planes of a volume lie one below the other from here on
    valid = None if valid is None else valid.reshape(rows)
    intensity = to_intensity(pixels.reshape(*rows, *pixels.shape[axes:]), valid)
    sigma = yield from _iter_sigma(unary, chosen, pixels, intensity, seeds, values, stop)
    guess_cut_short = stop is not None and stop.is_set()

    def attempt(device: torch.device) -> Generator[SolveProgress, None, Minimum]:
        problem = make_problem(
            intensity,
            seeds.reshape(rows),
            len(values),
            None if sigma is None else sigma.reshape(-1, *seeds.reshape(rows).shape),
            valid,
            chosen,
            device,
            depth=shape[0] if axes == 3 else 1,
        )
        return minimise(problem, chosen, stop, memory)

    minimum: Minimum = yield from in_its_memory(attempt, target)
    labels = minimum.labels
    return Solution(
        probabilities=labels[0].cpu().numpy().reshape(-1, *shape),
        classes=values,
        terms=minimum.terms,
        sweeps=minimum.sweeps,
        seconds=time.perf_counter() - began,
        device=str(minimum.labels.device),
        status=Status.STOPPED if guess_cut_short else minimum.status,
        unary=sigma,
    )


def _iter_sigma(
    unary: Any,
    chosen: SolveOptions,
    pixels: npt.NDArray[Any],
    intensity: npt.NDArray[np.float32],
    seeds: npt.NDArray[np.int64],
    values: tuple[int, ...],
    stop: threading.Event | None,
) -> Generator[SolveProgress, None, npt.NDArray[np.float32] | None]:
    if isinstance(unary, str) and chosen.unary != Unary.NONE and chosen.eta > 0:
        from napari_softseg.unary.classifier import classify_planes
        from napari_softseg.unary.nearness import looks_and_nearness

        network = yield from iter_pretrained(chosen, intensity.shape[-1], stop)
        yield SolveProgress("unary", 0, 1)
        if seeds.ndim == 3 and len(seeds) > 1:
            planes = intensity.reshape(*seeds.shape, -1)
            return classify_planes(planes, seeds, len(values), network=network, stop=stop)
        plane = seeds.reshape(intensity.shape[:2])
        sigma = looks_and_nearness(intensity, plane, len(values), network=network, stop=stop)
        return sigma.reshape(len(values), *seeds.shape)
    yield SolveProgress("unary", 0, 1)
    if isinstance(unary, str):
        return None
    return checked_unary(unary(pixels, values), len(values), seeds.shape) if callable(unary) else unary


def iter_pretrained(
    chosen: SolveOptions, channels: int, stop: threading.Event | None
) -> Generator[SolveProgress, None, PretrainedFeatures | None]:
    """Load what the chosen unary needs of a pretrained network; yields progress where that takes time.

    None if it needs nothing, or `stop` was set first.
    """
    if chosen.unary != Unary.PRETRAINED:
        return None
    from napari_softseg.unary.pretrained import is_loaded, pretrained_features

    if not is_loaded(chosen.weights, channels):
        yield SolveProgress("weights", 0, 1)
    return pretrained_features(chosen.weights, channels, stop)


def check_method(chosen: SolveOptions) -> None:
    """Raise InputError if relaxation, neighbourhood and method do not go together."""
    if chosen.neighborhood == Neighborhood.DN and chosen.relaxation not in DENSE_RELAXATIONS:
        raise InputError(
            f"Neighborhood dn needs relaxation bl or q, whose sums over all pairs of pixels are one filter, "
            f"but got {chosen.relaxation}; choose relaxation q or bl, or neighborhood sn."
        )
    if chosen.neighborhood == Neighborhood.DN and chosen.method == Method.CLOSED_FORM:
        raise InputError(
            "Method closed-form needs a sparse system of equations, which neighborhood dn does not give; "
            "choose method mm (the same minimum for relaxation q without a unary), or neighborhood sn."
        )
    if chosen.method == Method.CLOSED_FORM and chosen.relaxation != Relaxation.Q:
        raise InputError(
            f"Method closed-form solves relaxation q only, but got {chosen.relaxation}; "
            "choose relaxation q, or method mm."
        )


def check_volume_options(chosen: SolveOptions) -> None:
    """Raise InputError if the neighbourhood knows pixels of one plane only."""
    if chosen.neighborhood != Neighborhood.GRID4:
        raise InputError(
            f"Neighborhood {chosen.neighborhood} joins pixels of one plane only; choose grid4 for a volume, "
            "which joins the 6 nearest voxels, or solve plane by plane."
        )


def make_problem(
    intensity: npt.NDArray[np.float32],
    seeds: npt.NDArray[np.int64],
    n_classes: int,
    sigma: npt.NDArray[np.float32] | None,
    valid: npt.NDArray[np.bool_] | None,
    chosen: SolveOptions,
    target: torch.device,
    depth: int = 1,
) -> Problem:
    """Return the problem of one image (H, W, C), or of a block of one, on the device `target`.

    The rows may be those of `depth` planes of a volume, (D * H, W, C).
    """
    channels = torch.from_numpy(intensity).to(target).movedim(-1, 0)[None].contiguous()
    inside = None if valid is None else torch.from_numpy(valid)[None].to(target)
    dense = chosen.neighborhood == Neighborhood.DN
    edges: Edges = {}
    if depth > 1:
        edges = volume_edges(channels, depth, chosen.bandwidth, chosen.spacing, inside)
    elif not dense:
        edges = grid_edges(channels, chosen.neighborhood, chosen.bandwidth, inside)
    return Problem(
        seeds=torch.from_numpy(seeds)[None].to(target),
        edges=edges,
        dense=dense_edges(channels, chosen.bandwidth, chosen.reach, inside) if dense else None,
        n_classes=n_classes,
        sigma=None if sigma is None else torch.from_numpy(sigma)[None].to(target),
        valid=inside,
        relaxation=chosen.relaxation,
        cross_entropy=chosen.cross_entropy,
        eta=chosen.eta,
        lambda_=chosen.lambda_,
        depth=depth,
    )


def minimise(
    problem: Problem,
    chosen: SolveOptions,
    stop: threading.Event | None,
    memory: IncrementalSolver | None = None,
) -> Generator[SolveProgress, None, Minimum]:
    """Minimise the energy by the chosen method."""
    if chosen.method == Method.GD:
        return iter_gradient_descent(problem, steps=chosen.max_sweeps, stop=stop)
    if chosen.method == Method.CLOSED_FORM:
        return iter_random_walker(problem, max_iterations=chosen.max_sweeps, stop=stop)
    run = iter_majorize_minimize if memory is None else memory.iter_solve
    return run(problem, max_sweeps=chosen.max_sweeps, tolerance=chosen.tolerance, stop=stop)
