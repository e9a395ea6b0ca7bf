"""Strokes are held out whole, shortened to their middle, and drawn from polylines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_softseg.errors import InputError
from napari_softseg.training.data import hold_out_strokes
from napari_softseg.training.data.polylines import Polyline, centred_part, draw_polylines, read_polylines
from napari_softseg.training.data.strokes import shortened_strokes

SEEDS = st.integers(0, 2**31 - 1)


def _strokes_per_class(seeds: npt.NDArray[np.int64]) -> dict[int, int]:
    """Count by scipy, class by class."""
    return {
        int(c): ndimage.label(seeds == c, structure=np.ones((3, 3)))[1] for c in np.unique(seeds) if c >= 0
    }


@settings(deadline=None)
@given(SEEDS, st.floats(0, 1), st.floats(0.02, 0.5))
def test_held_out_strokes_are_whole_and_leave_one_of_each_class(
    seed: int, share: float, drawn: float
) -> None:
    rng = np.random.default_rng(seed)
    seeds = np.where(rng.random((20, 30)) < drawn, rng.integers(0, 3, (20, 30)), -1)
    kept, held = hold_out_strokes(torch.from_numpy(seeds), share, torch.Generator().manual_seed(seed))
    one, other = kept.numpy(), held.numpy()
    assert (np.maximum(one, other) == seeds).all()
    assert ((one < 0) | (other < 0)).all()
    before, left, gone = (_strokes_per_class(x) for x in (seeds, one, other))
    for c, count in before.items():
        wanted = 0 if share == 0 or count == 1 else min(max(1, round(share * count)), count - 1)
        assert gone.get(c, 0) == wanted
        assert left[c] == count - wanted


def test_which_strokes_are_held_out_is_random_and_repeats() -> None:
    seeds = torch.full((3, 40), -1)
    seeds[1, ::4] = 0
    splits = {
        tuple(hold_out_strokes(seeds, 0.3, torch.Generator().manual_seed(i))[1].flatten().tolist())
        for i in (0, 0, 1, 2)
    }
    assert len(splits) == 3


def test_touching_strokes_of_two_classes_are_two_strokes() -> None:
    seeds = torch.tensor([[0, 0, 1, 1, -1, 0, -1, 1]])
    _, held = hold_out_strokes(seeds, 0.5, torch.Generator().manual_seed(0))
    assert sorted(held[held >= 0].unique().tolist()) == [0, 1]


@given(
    st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=8),
    st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]),
)
def test_the_centred_part_has_its_share_of_the_length(
    corners: list[tuple[float, float]], ratio: float
) -> None:
    points = np.array(corners)
    part = centred_part(points, ratio)

    def length(polyline: npt.NDArray[np.float64]) -> float:
        return float(np.linalg.norm(np.diff(polyline, axis=0), axis=1).sum())

    assert length(part) == pytest.approx(ratio * length(points), abs=1e-6)
    # turned around it is the same part
    np.testing.assert_allclose(centred_part(points[::-1], ratio)[::-1], part, atol=1e-6)


def test_the_centred_part_of_an_angle_by_hand() -> None:
    corner = np.array([[0.0, 0.0], [0.0, 6.0], [4.0, 6.0]])
    np.testing.assert_allclose(centred_part(corner, 0.0), [[0.0, 5.0]])
    np.testing.assert_allclose(centred_part(corner, 0.5), [[0.0, 2.5], [0.0, 6.0], [1.5, 6.0]])
    np.testing.assert_allclose(centred_part(corner, 1.0), corner)


def test_polylines_are_three_pixels_wide_and_later_ones_lie_on_top() -> None:
    level = Polyline("a", np.array([[3.0, 2.0], [3.0, 8.0]]))
    upright = Polyline("b", np.array([[0.0, 5.0], [9.0, 5.0]]))
    drawn = draw_polylines([level, upright], (8, 11), {"a": 1, "b": 2}, unlabelled=255)
    expected = np.full((8, 11), 255)
    expected[2:5, 1:10] = 1
    expected[:, 4:7] = 2
    np.testing.assert_array_equal(drawn, expected)


def test_a_polyline_of_ratio_0_is_a_dot_and_one_outside_is_cut_off() -> None:
    level = Polyline("a", np.array([[3.0, 2.0], [3.0, 8.0]]))
    dot = draw_polylines([level], (8, 11), {"a": 1}, unlabelled=0, length_ratio=0.0)
    assert {tuple(p) for p in np.argwhere(dot)} == {(y, x) for y in (2, 3, 4) for x in (4, 5, 6)}
    beyond = Polyline("a", np.array([[-40.0, 5.0], [-1.0, 5.0]]))
    edge = draw_polylines([beyond], (8, 11), {"a": 1}, unlabelled=0)
    assert {tuple(p) for p in np.argwhere(edge)} == {(0, 4), (0, 5), (0, 6)}


XML = """<annotation><folder>anno</folder><filename>a.png</filename>
<size><width>11</width><height>8</height><depth>3</depth></size><segmented>1</segmented>
<polygon><tag>Potted Plant</tag>
<point><X>3</X><Y>4</Y></point><point><X>9</X><Y>4</Y></point></polygon>
<polygon><tag>person</tag></polygon>
</annotation>"""


def test_polylines_are_read_as_rows_and_columns_from_0(tmp_path: Path) -> None:
    file = tmp_path / "a.xml"
    file.write_text(XML)
    (polyline,) = read_polylines(file)
    assert polyline.tag == "pottedplant"
    np.testing.assert_array_equal(polyline.points, [[3.0, 2.0], [3.0, 8.0]])


@pytest.mark.parametrize(
    "text", [XML[:200], XML.replace("<X>3</X>", ""), XML.replace("<Y>4</Y>", "<Y>four</Y>"), ""]
)
def test_a_damaged_xml_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.xml"
    file.write_text(text)
    with pytest.raises(InputError, match=r"a\.xml is damaged: no XML of strokes") as caught:
        read_polylines(file)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=30)
@given(
    st.integers(3, 60), st.sampled_from([1, 3, 5]), st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0]), st.booleans()
)
def test_a_straight_stroke_is_shortened_to_its_middle(
    length: int, width: int, ratio: float, upright: bool
) -> None:
    seeds = np.full((9, 70), -1)
    seeds[2 : 2 + width, 5 : 5 + length] = 1
    if upright:
        seeds = np.ascontiguousarray(seeds.T)
    left = shortened_strokes(seeds, ratio)
    assert set(np.unique(left)) == {-1, 1}
    assert (seeds[left >= 0] == 1).all()
    along = np.flatnonzero((left >= 0).any(axis=1 if upright else 0))
    assert abs(len(along) - max(3.0, ratio * length)) <= 2 + (width - 1) * (ratio < 1)
    assert abs(along.mean() - (5 + (length - 1) / 2)) <= 1 + (width - 1) / 2


def test_a_bent_stroke_is_measured_along_itself() -> None:
    seeds = np.full((40, 40), -1)
    seeds[5, 5:35] = 0
    seeds[5:35, 34] = 0  # a right angle: the middle of its length is the corner
    left = shortened_strokes(seeds, 0.0) >= 0
    assert np.abs(np.argwhere(left) - [5, 34]).max() <= 2
    half = shortened_strokes(seeds, 0.5) >= 0
    assert half[5, 5:35].sum() == pytest.approx(half[5:35, 34].sum(), abs=2)
    assert half.sum() == pytest.approx(30, abs=2)


@settings(deadline=None, max_examples=20)
@given(SEEDS, st.floats(0, 0.99))
def test_every_stroke_keeps_something_of_its_class(seed: int, ratio: float) -> None:
    rng = np.random.default_rng(seed)
    seeds = np.where(rng.random((15, 20)) < 0.3, rng.integers(0, 3, (15, 20)), -1)
    left = shortened_strokes(seeds, ratio)
    assert (left[left >= 0] == seeds[left >= 0]).all()
    for c in range(3):
        numbered, count = ndimage.label(seeds == c, structure=np.ones((3, 3)))
        assert set(np.unique(numbered[left == c])) == set(range(1, count + 1))
