"""Labels of other programs come in as they were meant, or a question is asked.

Files are made as those programs make them: napari-convpaint writes ``NAME_annotations.tif`` with tifffile;
ilastik writes HDF5 with named axes, and its projects hold blocks of strokes with their places.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from napari_softseg.errors import InputError
from napari_softseg.project import import_labels
from napari_softseg.project.label_import import voc_palette

LABELS = np.zeros((5, 7), np.uint8)
LABELS[1, 2:5] = 1
LABELS[3, :] = 3


def _tags(axes: str) -> str:
    return json.dumps({"axes": [{"key": axis, "typeFlags": 2, "resolution": 0} for axis in axes]})


def _png(path: Path, values: npt.NDArray[Any]) -> Path:
    Image.fromarray(values).save(path)
    return path


def _tiff(path: Path, values: npt.NDArray[Any]) -> Path:
    tifffile.imwrite(path, values)
    return path


def _npy(path: Path, values: npt.NDArray[Any]) -> Path:
    np.save(path, values)
    return path


@pytest.mark.parametrize("unlabelled", [0, 255, -1, 7])
@pytest.mark.parametrize(("save", "name"), [(_png, "l.png"), (_tiff, "l.tif"), (_npy, "l.npy")])
def test_any_value_may_mean_nothing_painted(
    tmp_path: Path, unlabelled: int, save: Callable[[Path, npt.NDArray[Any]], Path], name: str
) -> None:
    if unlabelled < 0 and name == "l.png":
        pytest.skip("PNG has no negative values")
    values = np.where(LABELS == 0, unlabelled, LABELS.astype(np.int16))
    path = save(tmp_path / name, values.astype(np.int16 if unlabelled < 0 else np.uint8))
    labels, names = import_labels(path, unlabelled=unlabelled)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, LABELS)
    assert names == {}
    if unlabelled != 7:  # which nobody can know
        np.testing.assert_array_equal(import_labels(path)[0], LABELS)


@pytest.mark.parametrize(("unlabelled", "stands_for_0"), [(255, 255), (-1, 255), (9, 9), (300, 255)])
def test_a_class_0_gets_another_value(tmp_path: Path, unlabelled: int, stands_for_0: int) -> None:
    values = np.full((5, 7), unlabelled, np.int16)
    values[0], values[1] = 0, 1
    labels, _ = import_labels(_npy(tmp_path / "l.npy", values), unlabelled=unlabelled)
    assert (labels[0] == stands_for_0).all()
    assert (labels[1] == 1).all()
    assert not labels[2:].any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0, 255, 1]]), r"holds 0 and 255: say which of them"),
        (np.array([[0, -1, 1]]), r"holds -1 and 0: say which of them"),
        (np.array([[0, 1000]]), r"holds the value 1000, .* single objects are no classes"),
        (np.zeros((3, 40, 50), np.uint8), r"Expected one plane"),
        (np.array([[0.5]]), r"Expected whole class values"),
    ],
)
def test_what_is_unclear_is_asked(tmp_path: Path, values: npt.NDArray[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        import_labels(_npy(tmp_path / "l.npy", values))


def test_annotations_of_convpaint(tmp_path: Path) -> None:
    labels = np.where(LABELS == 3, 255, LABELS).astype(np.uint8)  # with 0 and 255, which would else be asked
    path = _tiff(tmp_path / "cells_annotations.tif", labels)
    np.testing.assert_array_equal(import_labels(path)[0], labels)


@pytest.mark.parametrize("axes", ["yx", "yxc", "tzyxc", "cxy", ""])
def test_labels_exported_by_ilastik(tmp_path: Path, axes: str) -> None:
    stored = LABELS.T if axes == "cxy" else LABELS
    shape = tuple(1 if axis in "tzc" else {"y": 5, "x": 7}[axis] for axis in axes) or (1, 5, 7, 1)
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        array = file.create_dataset("exported_data", data=stored.reshape(shape))
        if axes:
            array.attrs["axistags"] = _tags(axes)
    np.testing.assert_array_equal(import_labels(tmp_path / "labels.h5")[0], LABELS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((2, 3, 4), np.float32), "not class values; choose Labels or Simple Segmentation"),
        (np.zeros((2, 3, 4), np.uint8), "Expected one plane of class values"),
    ],
)
def test_other_exports_of_ilastik_are_refused(tmp_path: Path, data: npt.NDArray[Any], message: str) -> None:
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file.create_dataset("exported_data", data=data).attrs["axistags"] = _tags("yxc")
    with pytest.raises(InputError, match=message):
        import_labels(tmp_path / "e.h5")


@pytest.fixture
def ilp(tmp_path: Path) -> Path:
    path = tmp_path / "project.ilp"
    with h5py.File(path, "w") as file:
        file["PixelClassification/LabelNames"] = [b"nucleus", b"cell", b"rest"]
        for lane, name in enumerate(("first", "second")):
            raw = file.create_group(f"Input Data/infos/lane{lane:04d}/Raw Data")
            raw["nickname"] = name.encode()
            raw["filePath"] = f"C:\\images\\{name}.tif".encode()
            raw["shape"] = [5, 7, 3]
            raw["axistags"] = _tags("yxc").encode()
            file.create_group(f"PixelClassification/LabelSets/labels{lane:03d}")
        for number, (rows, columns) in enumerate([((1, 2), (2, 5)), ((3, 4), (0, 7))]):
            where = file["PixelClassification/LabelSets/labels001"].create_dataset(
                f"block{number:04d}", data=LABELS[slice(*rows), slice(*columns), None]
            )
            where.attrs["blockSlice"] = f"[{rows[0]}:{rows[1]},{columns[0]}:{columns[1]},0:1]"
            where.attrs["axistags"] = _tags("yxc")
    return path


def test_strokes_in_a_project_of_ilastik(ilp: Path) -> None:
    labels, names = import_labels(ilp, image="second.png")
    np.testing.assert_array_equal(labels, LABELS)
    assert names == {1: "nucleus", 2: "cell", 3: "rest"}
    assert not import_labels(ilp, image="first")[0].any()
    with pytest.raises(InputError, match=r"these images: first, second; None is not one"):
        import_labels(ilp)


def test_damaged_hdf5_is_refused_in_one_line(ilp: Path) -> None:
    whole = ilp.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:8], whole.replace(b'"y"', b'"q"')):
        ilp.write_bytes(content)
        with pytest.raises(InputError) as caught:
            import_labels(ilp, image="second")
        assert "\n" not in str(caught.value)
    with h5py.File(ilp, "w") as file:
        file["a"], file["b"] = 1, 2
    with pytest.raises(InputError, match="Expected one array"):
        import_labels(ilp)


@pytest.mark.parametrize("as_colors", [False, True])
def test_masks_of_voc(tmp_path: Path, as_colors: bool) -> None:
    folder = tmp_path / "SegmentationClass"
    folder.mkdir()
    values = np.array([[0, 15, 255], [8, 20, 0]], np.uint8)
    picture = Image.fromarray(values)
    picture.putpalette(voc_palette().tobytes())
    (picture.convert("RGB") if as_colors else picture).save(folder / "2007.png")
    labels, names = import_labels(folder / "2007.png")
    np.testing.assert_array_equal(labels, [[255, 15, 0], [8, 20, 255]])
    assert (names[255], names[15], names[20], len(names)) == ("background", "person", "tvmonitor", 21)


def test_voc_has_its_published_colours() -> None:
    assert voc_palette()[[1, 2, 3, 15, 20, 255]].tolist() == [
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [192, 128, 128],
        [0, 64, 128],
        [224, 224, 192],
    ]


def test_other_colours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has 3 colour channels; save the scribbles as an indexed"):
        import_labels(_png(tmp_path / "l.png", np.array([[[1, 2, 3]]], np.uint8)))
