"""Where a first guess is given, strokes of one class or none are enough, by every method."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from napari_softseg import InputError, solve

IMAGE = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
NO_STROKES = np.zeros((20, 30), np.uint8)


def halves() -> npt.NDArray[np.float32]:
    """Three classes: the first on the left, the second on the right."""
    guess = np.full((3, 20, 30), 0.1, np.float32)
    guess[0, :, :15], guess[1, :, 15:] = 0.8, 0.8
    return guess


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "gd"},
        {"method": "closed-form", "relaxation": "q"},
        {"relaxation": "q", "neighborhood": "dn"},
        {"neighborhood": "sn"},
    ],
)
def test_strokes_of_no_class_or_one(options: dict[str, str]) -> None:
    solution = solve(IMAGE, NO_STROKES, unary=halves(), classes=(3, 7, 9), **options)  # type: ignore[arg-type]
    assert solution.classes == (3, 7, 9)
    assert (solution.labels[:, :14] == 3).mean() > 0.9
    assert (solution.labels[:, 16:] == 7).mean() > 0.9
    stroke = NO_STROKES.copy()
    stroke[5:9, 20:24] = 9
    solution = solve(IMAGE, stroke, unary=lambda *_: halves(), classes=(3, 7, 9), **options)  # type: ignore[arg-type]
    assert (solution.probabilities[2][stroke == 9] == 1).all()
    assert (solution.labels[:, :14] == 3).mean() > 0.9


def test_without_a_guess_or_a_list_of_classes_two_are_asked_for() -> None:
    with pytest.raises(InputError, match="Found no strokes"):
        solve(IMAGE, NO_STROKES, classes=(3, 7, 9))
    with pytest.raises(InputError, match="Found no strokes"):
        solve(IMAGE, NO_STROKES, unary=halves())
    with pytest.raises(InputError, match="Found no strokes"):
        solve(IMAGE, NO_STROKES, unary=halves(), classes=(3, 7, 9), eta=0)
    one = NO_STROKES.copy()
    one[3, 3:9] = 7
    with pytest.raises(InputError, match="strokes of one class only"):
        solve(IMAGE, one, classes=(3, 7, 9))
    with pytest.raises(InputError, match="class 7, which is not among"):
        solve(IMAGE, one, unary=halves(), classes=(3, 8, 9))
