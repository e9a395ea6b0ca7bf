"""Metrics against scikit-learn and against a matrix worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, recall_score

from napari_softseg.training.metrics import Confusion

# 4 pixels of class 0: 3 right, 1 taken for class 1; 2 of class 1: 1 right, 1 taken for 0; class 2 nowhere.
TRUTH = np.array([[0, 0, 0, -1], [0, 1, 1, -1]])
SAID = np.array([[0, 0, 1, 2], [0, 1, 0, 0]])


def _counted(n: int, *pairs: tuple[object, object]) -> Confusion:
    found = Confusion(n)
    for said, truth in pairs:
        found.update(np.asarray(said), np.asarray(truth))
    return found


def test_by_hand() -> None:
    found = _counted(3, (SAID, TRUTH))
    assert found.matrix.tolist() == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert found.matrix.dtype == np.int64
    np.testing.assert_allclose(found.iou, [3 / 5, 1 / 3, np.nan])
    assert found.miou == pytest.approx((3 / 5 + 1 / 3) / 2)
    assert found.pixel_accuracy == pytest.approx(4 / 6)
    np.testing.assert_allclose(found.class_accuracy, [3 / 4, 1 / 2, np.nan])


def test_a_class_that_is_only_predicted_counts_as_wrong() -> None:
    found = _counted(3, ([0, 1, 2], [0, 1, 0]))
    np.testing.assert_allclose(found.iou, [1 / 2, 1, 0])
    np.testing.assert_allclose(found.class_accuracy, [1 / 2, 1, np.nan])
    assert found.miou == pytest.approx(0.5)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 7), st.integers(1, 400), st.integers(0, 2**31))
def test_as_scikit_learn_counts(n: int, pixels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, said = rng.integers(-1, n, pixels), rng.integers(0, n, pixels)
    found = _counted(n, (said, truth))
    kept = truth >= 0
    if not kept.any():
        assert np.isnan([found.miou, found.pixel_accuracy]).all()
        return
    true, pred = truth[kept], said[kept]
    labels = np.arange(n)
    np.testing.assert_array_equal(found.matrix, confusion_matrix(true, pred, labels=labels))
    assert found.pixel_accuracy == pytest.approx(accuracy_score(true, pred))
    there = np.union1d(true, pred)
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(found.iou)), there)
    expected = jaccard_score(true, pred, labels=there, average=None)
    np.testing.assert_allclose(found.iou[there], expected)
    assert found.miou == pytest.approx(expected.mean())
    drawn = np.unique(true)
    np.testing.assert_allclose(
        found.class_accuracy[drawn], recall_score(true, pred, labels=drawn, average=None)
    )


def test_images_add_up() -> None:
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(0, 4, size), rng.integers(-1, 4, size)) for size in [(3, 5), (2, 7, 4), (0,)]]
    parts = sum(_counted(4, pair).matrix for pair in pairs)
    np.testing.assert_array_equal(_counted(4, *pairs).matrix, parts)
    whole = Confusion(4)
    whole.matrix = np.asarray(parts)
    assert whole.miou == _counted(4, *pairs).miou


def test_tensors_and_small_ints() -> None:
    found = Confusion(3)
    found.update(torch.from_numpy(SAID).to(torch.uint8), torch.from_numpy(TRUTH).to(torch.int8))
    np.testing.assert_array_equal(found.matrix, _counted(3, (SAID, TRUTH)).matrix)


def test_the_report_is_json_by_name() -> None:
    report = json.loads(
        json.dumps(_counted(3, (SAID, TRUTH)).report(["sky", "road", "tree"]), allow_nan=False)
    )
    assert report["iou"] == {"sky": pytest.approx(0.6), "road": pytest.approx(1 / 3), "tree": None}
    assert report["class_accuracy"] == {"sky": 0.75, "road": 0.5, "tree": None}
    assert report["miou"] == pytest.approx(7 / 15)
    assert report["pixel_accuracy"] == pytest.approx(2 / 3)
    assert report["confusion"] == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert Confusion(2).report(["a", "b"])["miou"] is None


@pytest.mark.parametrize(
    ("said", "truth", "says"),
    [([3], [0], "0 to 2, but got 3"), ([-1], [0], "got -1"), ([0], [3], "got 3"), ([0, 1], [0], "one shape")],
)
def test_wrong_indices_and_shapes(said: list[int], truth: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        _counted(3, (said, truth))
