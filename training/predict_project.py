"""A trained network on every image of a project, corrected by the strokes that each image has."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from napari_softseg.errors import InputError
from napari_softseg.options import SolveOptions
from napari_softseg.project import Project
from napari_softseg.solver.api import solve
from napari_softseg.solver.solution import Status
from napari_softseg.training.first_guess import NetworkUnary, TrainedNetwork


@dataclass(frozen=True, slots=True)
class PredictProgress:
    """One report: an image is begun, or all are done."""

    done: int
    total: int
    name: str
    """Of the image that is begun; empty at the end."""


@dataclass(frozen=True, slots=True)
class PredictOutcome:
    """What came of it."""

    done: int
    """Images whose soft labels were written."""
    total: int
    left_out: dict[str, str]
    """Why others could not be, by the name of the image."""
    stopped: bool
    seconds: float


def predict_project(
    project: Project,
    path: Path,
    options: SolveOptions,
    *,
    stop: threading.Event,
    progress: Callable[[PredictProgress], None],
) -> PredictOutcome:
    """Write soft labels for every image: network, then solver with the image's strokes.

    Parameters
    ----------
    project : Project
        Open for writing.
    path : Path
        A model file, or the folder of a training run: its best network.
    options : SolveOptions
        The solver's; the unlabelled value is the project's.
    stop : threading.Event
        Set it from another thread to end before the next image; what is written stays.
    progress : callable
        Called with every :class:`PredictProgress`.

    Returns
    -------
    PredictOutcome
        Images that cannot be predicted are left out, and listed there.

    Raises
    ------
    InputError
        If the network cannot be read, or knows classes that the project has not.
    """
    began = time.perf_counter()
    unary = NetworkUnary.matching(
        TrainedNetwork(path), {one.value: one.name for one in project.manifest.classes}
    )
    chosen = replace(options, unlabelled=project.manifest.unlabelled)
    names, written, left_out = project.names, 0, {}
    for number, name in enumerate(names):
        if stop.is_set():
            break
        progress(PredictProgress(number, len(names), name))
        try:
            written += _predict(project, name, unary, chosen, stop)
        except InputError as error:
            left_out[name] = str(error)
    progress(PredictProgress(len(names), len(names), ""))
    del unary
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()  # the network's memory is the next training's
    return PredictOutcome(written, len(names), left_out, stop.is_set(), time.perf_counter() - began)


def _predict(
    project: Project, name: str, unary: NetworkUnary, options: SolveOptions, stop: threading.Event
) -> bool:
    """Write the soft labels of one image; return False if it was stopped before they were there."""
    problem = project.check(name)
    if problem:
        raise InputError(problem)
    image, strokes = project.read_image(name), project.read_scribbles(name)

    def guess(pixels: npt.NDArray[Any], _classes: tuple[int, ...]) -> npt.NDArray[np.float32]:
        return unary.guess(pixels, strokes, unlabelled=options.unlabelled, device=options.device, stop=stop)

    values = {spec.name: getattr(options, spec.name) for spec in fields(options)} | {"unary": guess}
    solution = solve(image, strokes, classes=unary.values, stop=stop, **values)
    if stop.is_set() or solution.status is Status.STOPPED:
        return False
    project.write_soft_labels(name, solution.probabilities)
    return True
