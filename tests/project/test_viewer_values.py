"""Strokes and soft labels go to the viewer and come back, whatever 0 means in the project."""

from __future__ import annotations

import numpy as np
import pytest

from napari_softseg.project import ProjectClass
from napari_softseg.project.manifest import Manifest
from napari_softseg.project.viewer_values import (
    classes_from_viewer,
    classes_to_viewer,
    from_viewer,
    soft_labels_from_viewer,
    soft_labels_to_viewer,
    to_viewer,
)


def _manifest(unlabelled: int, *values: int) -> Manifest:
    return Manifest(unlabelled, tuple(ProjectClass(value, f"c{value}", (0, 0, value)) for value in values))


VOC = _manifest(255, 0, 1, 15)
PLAIN = _manifest(0, 1, 2, 255)
WITHOUT_ZERO = _manifest(7, 1, 8)


@pytest.mark.parametrize("manifest", [VOC, PLAIN, WITHOUT_ZERO], ids=["255", "0", "7"])
def test_there_and_back(manifest: Manifest) -> None:
    values = [manifest.unlabelled, *(one.value for one in manifest.classes)]
    strokes = np.array([values, values[::-1]], np.uint8)
    seen = to_viewer(strokes, manifest.unlabelled)
    np.testing.assert_array_equal(seen == 0, strokes == manifest.unlabelled)
    np.testing.assert_array_equal(from_viewer(seen.astype(np.int64), manifest.unlabelled), strokes)
    classes = classes_to_viewer(manifest)
    assert [one.value for one in classes] == sorted(set(seen.ravel().tolist()) - {0})
    assert tuple(classes_from_viewer(classes, manifest.unlabelled)) == manifest.classes
    soft = np.arange(len(classes) * 4).reshape(-1, 2, 2)
    np.testing.assert_array_equal(
        soft_labels_from_viewer(soft_labels_to_viewer(soft, manifest), manifest), soft
    )


def test_background_0_is_painted_with_the_value_that_means_nothing_in_the_files() -> None:
    assert [(one.value, one.name) for one in classes_to_viewer(VOC)] == [(1, "c1"), (15, "c15"), (255, "c0")]
    np.testing.assert_array_equal(to_viewer(np.array([0, 1, 15, 255], np.uint8), 255), [255, 1, 15, 0])
    soft = np.array([0.1, 0.2, 0.7])[:, None, None]
    np.testing.assert_array_equal(soft_labels_to_viewer(soft, VOC).ravel(), [0.2, 0.7, 0.1])


def test_values_that_are_the_same_are_not_copied() -> None:
    strokes = np.zeros((2, 2), np.uint8)
    assert to_viewer(strokes, 0) is strokes
