"""One block: read it with its halo, guess, solve, and keep the inner part."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_softseg.blocks.source import Plane
from napari_softseg.blocks.store import CONVERGED, SWEEP_LIMIT, BlockStore
from napari_softseg.blocks.survey import Inputs
from napari_softseg.blocks.tiling import SMALLEST, Tiling, Window
from napari_softseg.errors import InputError
from napari_softseg.options import SolveOptions
from napari_softseg.solver.api import make_problem, minimise
from napari_softseg.solver.checks import checked_unary
from napari_softseg.solver.device import is_out_of_memory, resolve_device
from napari_softseg.solver.intensity import IntensityRule
from napari_softseg.solver.solution import Status, drain
from napari_softseg.unary.classifier import ImageFeatures, StrokeClassifier
from napari_softseg.unary.nearness import Nearness
from napari_softseg.unary.pretrained import PretrainedFeatures

UnarySource = StrokeClassifier | Plane | Callable[[npt.NDArray[Any], tuple[int, ...]], npt.NDArray[Any]]
"""A fitted classifier, probabilities (K, H, W), or a model called with a block's pixels and the classes."""


@dataclass(frozen=True, slots=True)
class BlockJob:
    """All that any block of one solve needs; travels to other processes.

    Parameters
    ----------
    inputs : Inputs
        Image, scribbles, mask.
    unary : UnarySource
        Where sigma comes from.
    step : int
        Grid step of the classifier, decided by the whole image.
    rule : IntensityRule
        Of the whole image.
    tiling : Tiling
        The blocks.
    halo : int
        Pixels around a block that are solved with it and thrown away.
    options : SolveOptions
        How to solve.
    store : BlockStore
        Where the result goes.
    network : PretrainedFeatures, optional
        What the classifier was fitted with.
    near : Nearness, optional
        What the places of the strokes say, beside a classifier.
    """

    inputs: Inputs
    unary: UnarySource
    step: int
    rule: IntensityRule
    tiling: Tiling
    halo: int
    options: SolveOptions
    store: BlockStore
    network: PretrainedFeatures | None = None
    near: Nearness | None = None

    def solve(self, place: tuple[int, int], stop: threading.Event | None = None) -> Status:
        """Solve the block at a place of the grid and write it, unless `stop` is set before the end."""
        window = self.tiling.window(*place)
        y, status = _in_memory(self, window, resolve_device(self.options.device), stop)
        if status is not Status.STOPPED:
            self.store.write(place, window, y, SWEEP_LIMIT if status is Status.MAX_SWEEPS else CONVERGED)
        return status

    def labels(
        self, window: Window, device: torch.device, stop: threading.Event | None
    ) -> tuple[npt.NDArray[np.float32], Status]:
        """Return the probabilities (K, h, w) of a window, solved with its halo, and how it ended."""
        classes = self.store.classes
        outer = window.widened(self.halo, self.tiling.size)
        inner = window.inside(outer)
        valid = self.inputs.valid(outer)
        if valid is not None and not valid[inner].any():
            uniform = np.full((len(classes), window.height, window.width), 1 / len(classes), dtype=np.float32)
            return uniform, Status.CONVERGED
        pixels = self.inputs.image.read(*outer.slices)
        intensity = self.rule.apply(pixels, valid)
        sigma = self._sigma(outer, pixels, intensity, stop)
        del pixels
        seeds = self.inputs.seeds(outer, classes)
        problem = make_problem(intensity, seeds, len(classes), sigma, valid, self.options, device)
        del intensity, sigma
        minimum = drain(minimise(problem, self.options, stop))
        stopped = stop is not None and stop.is_set()
        y: npt.NDArray[np.float32] = minimum.labels[0, :, *inner].float().cpu().numpy()
        return y, Status.STOPPED if stopped else minimum.status

    def _sigma(
        self,
        outer: Window,
        pixels: npt.NDArray[Any],
        intensity: npt.NDArray[np.float32],
        stop: threading.Event | None,
    ) -> npt.NDArray[np.float32]:
        if isinstance(self.unary, StrokeClassifier):
            features = ImageFeatures(intensity, self.step, self.network, (outer.top, outer.left))
            sigma = self.unary.predict(features, stop=stop)
            return sigma if self.near is None else self.near.mixed(sigma, *outer.slices)
        classes, shape = self.store.classes, (outer.height, outer.width)
        if isinstance(self.unary, Plane):
            return checked_unary(np.moveaxis(self.unary.read(*outer.slices), -1, 0), len(classes), shape)
        return checked_unary(self.unary(pixels, classes), len(classes), shape)


def _in_memory(
    job: BlockJob, window: Window, device: torch.device, stop: threading.Event | None
) -> tuple[npt.NDArray[np.float32], Status]:
    """Solve a window; where memory does not suffice, in four parts, and small ones on the CPU."""
    try:
        return job.labels(window, device, stop)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # outside of the handler, so that what the failed solve held is free
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if min(window.height, window.width) > SMALLEST:
        y = np.empty((len(job.store.classes), window.height, window.width), dtype=np.float32)
        worst = Status.CONVERGED
        for part in window.quarters():
            y[:, *part.inside(window)], status = _in_memory(job, part, device, stop)
            worst = status if status is not Status.CONVERGED and worst is not Status.STOPPED else worst
        return y, worst
    if device.type != "cpu":
        return _in_memory(job, window, torch.device("cpu"), stop)
    raise InputError(
        f"Out of memory on a block of {window.height} x {window.width} pixels with a halo of {job.halo}; "
        "give a smaller halo, or solve where there is more memory."
    )
