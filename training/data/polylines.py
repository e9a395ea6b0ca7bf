"""Strokes as polylines: ScribbleSup's XML files (Lin et al. 2016), drawn into an image.

A file has ``<polygon>`` elements, each with a ``<tag>``, the class name, and ``<point>`` elements of ``<X>``
and ``<Y>``, which count from 1. They are drawn 3 pixels wide, later ones over earlier ones, as the ancestor
of the paper's code does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import numpy.typing as npt
from skimage.draw import line

from napari_softseg.errors import InputError, unreadable

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Polyline:
    """One stroke."""

    tag: str
    """Name of its class."""
    points: Points
    """(N, 2) rows and columns, counted from 0; N >= 1."""


def read_polylines(path: Path) -> list[Polyline]:
    """Read the strokes of an XML file.

    Raises
    ------
    InputError
        If the file is damaged: no XML, a stroke without a tag or a point without its two numbers.
    """
    try:
        root = ET.parse(path).getroot()
        return [
            Polyline(
                polygon.findtext("tag", "").strip().lower().replace(" ", ""),
                np.array(
                    [
                        (float(point.findtext("Y", "")) - 1, float(point.findtext("X", "")) - 1)
                        for point in polygon.iter("point")
                    ]
                ),
            )
            for polygon in root.iter("polygon")
            if polygon.find("point") is not None
        ]
    except OSError as error:
        raise unreadable(path, error) from None
    except (ET.ParseError, ValueError) as error:
        raise InputError(f"{path} is damaged: no XML of strokes ({error}).") from None


def draw_polylines(
    polylines: Sequence[Polyline],
    shape: tuple[int, int],
    values: Mapping[str, int],
    *,
    unlabelled: int,
    length_ratio: float = 1.0,
) -> npt.NDArray[np.int64]:
    """Return (H, W) class values of the strokes, `unlabelled` where there is none.

    Parameters
    ----------
    polylines
        What to draw; what lies outside of the image is cut off.
    shape
        Height and width of the image.
    values
        Class value of every tag.
    unlabelled
        Value where nothing is drawn.
    length_ratio
        Share of every stroke to draw, as for `centred_part`.

    Raises
    ------
    KeyError
        If a tag is not in `values`.
    """
    # one pixel more on every side, so that a stroke just outside still shows its edge
    height, width = shape
    canvas = np.full((height + 2, width + 2), unlabelled, np.int64)
    for polyline in polylines:
        corners = np.rint(centred_part(polyline.points, length_ratio)).astype(int) + 1
        drawn = np.zeros(canvas.shape, bool)
        for start, end in zip(corners, corners[1:] if len(corners) > 1 else corners, strict=False):
            rows, columns = line(*start, *end)
            inside = (rows >= 0) & (rows < height + 2) & (columns >= 0) & (columns < width + 2)
            drawn[rows[inside], columns[inside]] = True
        canvas[_widened(drawn)] = values[polyline.tag]
    return canvas[1:-1, 1:-1]


def centred_part(points: Points, ratio: float) -> Points:
    """Return the middle of a polyline: the part of its arc length that is centred and `ratio` of all.

    Parameters
    ----------
    points
        (N, 2), N >= 1.
    ratio
        0..1; 0 is the one point halfway along.

    Returns
    -------
    ndarray
        (M, 2), M >= 1: the corners on the part, between its two ends.
    """
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    total = along[-1]
    if ratio >= 1 or total == 0:
        return points if total else points[:1]
    ends = total * (1 - ratio) / 2, total * (1 + ratio) / 2
    between = along[(along > ends[0]) & (along < ends[1])]
    marks = np.concatenate([[ends[0]], between, [ends[1]]]) if ratio > 0 else np.array([total / 2])
    return np.stack([np.interp(marks, along, points[:, axis]) for axis in (0, 1)], axis=1)


def _widened(drawn: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return every pixel that is drawn or touches one that is, by a side or a corner."""
    wide = drawn.copy()
    wide[1:] |= drawn[:-1]
    wide[:-1] |= drawn[1:]
    across = wide.copy()
    across[:, 1:] |= wide[:, :-1]
    across[:, :-1] |= wide[:, 1:]
    return across
