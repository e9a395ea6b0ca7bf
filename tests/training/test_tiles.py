"""Tiles that fade into each other sum to the whole, wherever they are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_softseg.blocks.tiling import Tiling, Window
from napari_softseg.training.tiles import BLEND, Floats, iter_blended

sides = st.integers(1, 150)


def _pattern(size: tuple[int, int]) -> Floats:
    return np.random.default_rng(0).random((3, *size), dtype=np.float32)


def _put_together(size: tuple[int, int], square: int, first_row: int = 0) -> tuple[Floats, list[Window]]:
    whole, seen = _pattern(size), []
    tiling = Tiling(size, square)
    result = np.full((3, *size), np.nan, dtype=np.float32)

    def predict(window: Window) -> Floats:
        seen.append(window)
        return whole[:, *window.slices].copy()

    for place, values in iter_blended(predict, tiling, first_row):
        if values is not None:
            result[:, *tiling.window(*place).slices] = values
    return result, seen


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.integers(BLEND, 160))
def test_where_all_tiles_agree_nothing_changes(height: int, width: int, square: int) -> None:
    result, _ = _put_together((height, width), square)
    np.testing.assert_allclose(result, _pattern((height, width)), atol=1e-6)


def test_tiles_fade_linearly_over_the_seam() -> None:
    tiling = Tiling((40, 3 * 64), 64)
    number = iter(range(3))
    row = np.concatenate(
        [
            values[0, 0]
            for _, values in iter_blended(
                lambda w: np.full((1, w.height, w.width), next(number), dtype=np.float32), tiling
            )
            if values is not None
        ]
    )
    assert (row[:64] == 0).all()
    np.testing.assert_allclose(row[64 : 64 + BLEND], (np.arange(BLEND) + 0.5) / BLEND, atol=1e-6)
    assert (row[64 + BLEND : 128] == 1).all()
    np.testing.assert_allclose(row[128 : 128 + BLEND], 1 + (np.arange(BLEND) + 0.5) / BLEND, atol=1e-6)
    assert (row[128 + BLEND :] == 2).all()


@pytest.mark.parametrize("first_row", [1, 2])
def test_going_on_from_a_row_gives_the_same_and_looks_at_one_row_more(first_row: int) -> None:
    size, square = (130, 100), 48
    whole, all_seen = _put_together(size, square)
    result, seen = _put_together(size, square, first_row)
    assert np.isnan(result[:, : first_row * square]).all()
    np.testing.assert_array_equal(result[:, first_row * square :], whole[:, first_row * square :])
    assert seen == all_seen[3 * (first_row - 1) :]
