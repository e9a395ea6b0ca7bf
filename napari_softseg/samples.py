"""Photos that ship inside scikit-image, with strokes: no network is needed.

Used by the demo, by napari's File > Open Sample and by the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_softseg.errors import InputError

STROKE_RADIUS = 3
"""Strokes are 7 pixels wide, like napari's brush at size 7."""

Stroke = tuple[tuple[int, int], ...]
"""A polyline of (x, y) points."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A photo with prepared strokes."""

    name: str
    title: str
    image: npt.NDArray[np.uint8]
    """(H, W, 3) uint8."""
    scribbles: npt.NDArray[np.uint8]
    """(H, W) uint8: class values, 0 where nothing was painted."""
    classes: dict[int, str]
    """Class values, ascending, with their names."""


@dataclass(frozen=True, slots=True)
class _Recipe:
    title: str
    source: str
    """Name of the function in `skimage.data`."""
    strokes: Mapping[str, tuple[Stroke, ...]]
    """Strokes per class name; class values count from 1 in this order."""


_RECIPES = {
    "astronaut": _Recipe(
        "Astronaut: 6 classes",
        "astronaut",
        {
            "head": (
                ((170, 90), (172, 62), (205, 36), (250, 35), (282, 62), (285, 95)),
                ((205, 92), (222, 118), (240, 150), (238, 168)),
            ),
            "suit": (
                ((60, 330), (78, 290), (100, 300), (118, 360), (90, 420), (120, 470)),
                ((170, 300), (215, 320), (228, 380), (210, 450)),
                ((150, 205), (165, 235), (215, 262), (260, 262)),
                ((330, 260), (320, 300), (296, 320)),
                ((250, 330), (262, 380), (258, 450)),
            ),
            "helmet": (
                ((320, 400), (345, 375), (400, 380), (440, 430)),
                ((310, 480), (380, 490), (450, 480)),
                ((375, 352), (420, 352), (465, 390), (485, 440)),
            ),
            "flag": (
                ((10, 20), (35, 60), (15, 120)),
                ((20, 145), (50, 190), (80, 215)),
                ((60, 140), (75, 180)),
                ((8, 200), (20, 260), (36, 285)),
                ((8, 300), (12, 370), (10, 480)),
            ),
            "shuttle": (
                ((410, 20), (415, 70), (420, 140)),
                ((392, 110), (388, 170), (395, 240)),
                ((443, 70), (443, 140), (445, 240)),
                ((372, 212), (410, 215)),
            ),
            "background": (
                ((100, 30), (125, 70), (110, 140), (108, 180)),
                ((140, 20), (190, 15)),
                ((320, 30), (330, 110), (320, 190), (335, 235)),
                ((345, 40), (370, 25)),
                ((480, 30), (485, 130), (480, 250)),
                ((395, 300), (450, 320), (490, 340)),
            ),
        },
    ),
    "coffee": _Recipe(
        "Coffee: cup, saucer, spoon and table",
        "coffee",
        {
            "coffee": (((222, 150), (255, 130), (300, 135), (345, 150)), ((240, 170), (300, 180))),
            "cup": (
                ((190, 100), (205, 60), (260, 30), (330, 32), (385, 80)),
                ((192, 175), (240, 215), (310, 220), (370, 195)),
                ((215, 280), (235, 250)),
                ((250, 60), (320, 70)),
            ),
            "saucer": (
                ((105, 190), (115, 250), (165, 310), (240, 355), (330, 365)),
                ((415, 290), (455, 240), (445, 180)),
                ((150, 140), (140, 200)),
            ),
            "spoon": (((345, 300), (370, 265), (385, 275)), ((381, 235), (398, 150), (408, 80))),
            "table": (
                ((40, 120), (30, 200), (50, 300), (110, 380)),
                ((110, 70), (150, 30), (220, 8)),
                ((430, 30), (500, 80), (550, 180), (520, 300), (470, 370)),
                ((20, 20), (60, 30)),
            ),
        },
    ),
    "cat": _Recipe(
        "Cat: eyes, nose, fur and background",
        "chelsea",
        {
            "eyes": (((148, 105), (165, 92), (190, 105), (172, 135)), ((308, 120), (322, 142), (330, 120))),
            "nose": (((250, 236), (270, 240), (283, 234)),),
            "fur": (
                ((60, 60), (130, 40), (240, 60), (310, 50)),
                ((110, 130), (150, 170), (215, 200), (180, 235)),
                ((240, 110), (265, 180)),
                ((320, 190), (340, 165)),
                ((50, 200), (110, 240), (160, 280), (240, 285)),
                ((30, 170), (15, 220), (15, 280)),
                ((370, 20), (355, 45)),
            ),
            "background": (
                ((8, 30), (15, 90)),
                ((420, 20), (390, 60), (410, 120), (430, 200), (390, 260)),
                ((350, 210), (350, 190)),
            ),
        },
    ),
    "tissue": _Recipe(
        "Tissue: stained glands and stroma",
        "immunohistochemistry",
        {
            "gland": (
                ((40, 60), (100, 120), (170, 170), (200, 230)),
                ((210, 40), (235, 110)),
                ((380, 40), (400, 120), (410, 220)),
                ((275, 340), (320, 370), (330, 450)),
                ((40, 240), (90, 320), (110, 400), (90, 480)),
            ),
            "stroma": (
                ((120, 250), (230, 280), (290, 240), (340, 285)),
                ((480, 40), (470, 180), (460, 300)),
                ((190, 330), (200, 420), (230, 490)),
                ((410, 350), (405, 440), (480, 490)),
            ),
            "lumen": (
                ((15, 320), (20, 370)),
                ((318, 80), (345, 130), (370, 180)),
                ((450, 400), (445, 430)),
            ),
        },
    ),
}

SAMPLE_NAMES: tuple[str, ...] = tuple(_RECIPES)


def load_sample(name: str) -> Sample:
    """Return the sample of this name, one of `SAMPLE_NAMES`.

    Raises
    ------
    InputError
        If there is no such sample; the message lists them.
    """
    if name not in _RECIPES:
        raise InputError(f"Unknown sample {name!r}; choose one of: {', '.join(SAMPLE_NAMES)}.")
    # Imported here: the command line asks for the names alone.
    from skimage import data

    recipe = _RECIPES[name]
    image: npt.NDArray[np.uint8] = getattr(data, recipe.source)()
    scribbles = np.zeros(image.shape[:2], np.uint8)
    for value, strokes in enumerate(recipe.strokes.values(), start=1):
        for stroke in strokes:
            _paint(scribbles, stroke, value)
    return Sample(name, recipe.title, image, scribbles, dict(enumerate(recipe.strokes, start=1)))


def _paint(scribbles: npt.NDArray[Any], stroke: Stroke, value: int) -> None:
    """Drag a round brush along the polyline."""
    from skimage.draw import disk, line

    for (x0, y0), (x1, y1) in zip(stroke, stroke[1:], strict=False):
        for y, x in zip(*line(y0, x0, y1, x1), strict=True):
            scribbles[disk((y, x), STROKE_RADIUS + 0.5, shape=scribbles.shape)] = value
