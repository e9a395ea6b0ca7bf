"""Photos that ship inside scikit-image, with strokes: no network is needed.

Used by the demo, by napari's File > Open Sample and by the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
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
            "suit": (
                ((60, 330), (78, 290), (100, 300), (118, 360), (90, 420), (120, 470)),
                ((170, 300), (215, 320), (228, 380), (210, 450)),
                ((128, 200), (140, 165), (178, 152)),
                ((145, 220), (165, 240), (215, 262), (270, 258), (295, 235)),
                ((170, 262), (235, 283), (285, 272)),
                ((165, 180), (195, 195), (225, 212), (250, 200), (268, 195)),
                ((200, 235), (240, 242)),
                ((330, 260), (325, 300), (300, 320)),
                ((250, 330), (262, 380), (258, 450)),
                ((150, 372), (185, 395)),
                ((290, 352), (318, 360)),
                ((162, 480), (185, 485)),
            ),
            "head": (
                ((166, 100), (168, 68), (205, 36), (250, 32), (285, 62), (288, 100)),
                ((205, 92), (222, 118), (240, 150), (238, 168)),
            ),
            "helmet": (
                ((312, 400), (345, 375), (385, 368)),
                ((320, 490), (350, 440), (430, 445), (440, 460)),
                ((375, 352), (420, 352), (465, 390), (485, 440)),
            ),
            "background": (
                ((85, 25), (90, 80), (112, 140), (108, 185)),
                ((140, 20), (140, 80), (150, 132)),
                ((190, 10), (260, 8)),
                ((308, 50), (310, 120), (295, 150), (318, 205), (345, 235)),
                ((365, 25), (370, 110), (350, 170)),
                ((470, 30), (472, 130), (465, 230), (485, 262), (505, 262)),
                ((376, 290), (382, 325), (410, 328), (420, 292), (440, 330), (465, 290)),
                ((450, 345), (480, 300), (503, 290), (485, 350), (503, 400)),
            ),
            "shuttle": (
                ((410, 20), (415, 70), (420, 140)),
                ((392, 110), (388, 170), (395, 240)),
                ((443, 70), (443, 140), (445, 240)),
                ((372, 212), (410, 215)),
                ((380, 276), (440, 276)),
            ),
            "flag": (
                ((10, 20), (35, 60), (15, 120)),
                ((20, 145), (50, 190), (80, 215)),
                ((60, 140), (75, 180)),
                ((60, 112), (78, 150)),
                ((8, 200), (20, 260), (36, 285)),
                ((8, 300), (12, 370), (10, 480)),
            ),
        },
    ),
    "coffee": _Recipe(
        "Coffee: cup, saucer, spoon and table",
        "coffee",
        {
            "coffee": (
                ((222, 150), (255, 130), (300, 135), (345, 150)),
                ((240, 170), (300, 182)),
                ((230, 112), (280, 108)),
            ),
            "cup": (
                ((183, 80), (205, 50), (260, 27), (330, 28), (385, 70), (396, 110), (375, 160)),
                ((184, 120), (200, 160), (250, 198), (310, 200)),
                ((195, 185), (240, 222), (310, 228), (370, 205)),
                ((250, 250), (270, 268), (300, 272), (325, 262)),
                ((215, 285), (235, 250)),
                ((250, 60), (320, 70)),
            ),
            "saucer": (
                ((84, 200), (90, 260), (130, 318), (200, 360), (300, 378)),
                ((115, 190), (125, 250), (175, 310), (260, 340), (330, 360)),
                ((270, 300), (300, 300), (315, 335)),
                ((425, 290), (460, 240), (445, 170)),
                ((150, 140), (140, 200)),
            ),
            "spoon": (((345, 300), (370, 265), (388, 275)), ((381, 235), (400, 150), (410, 80))),
            "table": (
                ((40, 120), (30, 200), (50, 300), (110, 380)),
                ((82, 300), (120, 345), (190, 390)),
                ((110, 70), (150, 30), (220, 8)),
                ((430, 30), (500, 80), (550, 180), (520, 300), (470, 370)),
                ((488, 230), (470, 290), (410, 350)),
                ((25, 365), (65, 385)),
                ((225, 396), (300, 396)),
                ((400, 378), (440, 352)),
                ((20, 30), (60, 30), (110, 12)),
                ((10, 100), (90, 50), (150, 10)),
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
                ((55, 260), (110, 285)),
                ((212, 130), (218, 160)),
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
                ((15, 430), (12, 490)),
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

    for (x0, y0), (x1, y1) in pairwise(stroke):
        for y, x in zip(*line(y0, x0, y1, x1), strict=True):
            scribbles[disk((y, x), STROKE_RADIUS + 0.5, shape=scribbles.shape)] = value
