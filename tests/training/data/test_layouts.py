"""The published data sets, as far as their layouts go: tiny folders with the same names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_softseg.errors import InputError
from napari_softseg.training.data import open_annotated
from tests.training.data.folders import HEIGHT, WIDTH, photo, strokes, write


def _polygon(tag: str, *points: tuple[int, int]) -> str:
    inner = "".join(f"<point><X>{x}</X><Y>{y}</Y></point>" for x, y in points)
    return f"<polygon><tag>{tag}</tag>{inner}</polygon>"


def _voc(root: Path) -> Path:
    """Four images: 1 and 2 of VOC's own training list, 3 of SBD's, 4 of the validation list."""
    for i in range(1, 5):
        name = f"2007_00000{i}"
        write(root / "JPEGImages" / f"{name}.jpg", photo(i))
        xml = root / "scribble_annotation" / "pascal_2012" / f"{name}.xml"
        xml.parent.mkdir(parents=True, exist_ok=True)
        xml.write_text(
            f"<annotation>{_polygon('background', (2, 2), (7, 2))}{_polygon('tvmonitor', (2, 6), (7, 6))}</annotation>"
        )
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[3], mask[4:] = 255, 20
        if i != 3:
            picture = Image.fromarray(mask)
            picture.putpalette(np.arange(768, dtype=np.uint8).tobytes())
            (root / "SegmentationClass").mkdir(exist_ok=True)
            picture.save(root / "SegmentationClass" / f"{name}.png")
        write(root / "SegmentationClassAug" / f"{name}.png", np.where(mask == 255, 0, mask).astype(np.uint8))
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000001\n2007_000002\n")
    (lists / "train_aug.txt").write_text(
        "".join(f"/JPEGImages/2007_00000{i}.jpg /SegmentationClassAug/2007_00000{i}.png\n" for i in (1, 2, 3))
    )
    (lists / "val.txt").write_text("2007_000004\n2007_000009\n")
    return root


@pytest.mark.parametrize("below", [".", "VOC2012", "VOCdevkit/VOC2012"])
def test_voc_trains_on_its_longest_list(tmp_path: Path, below: str) -> None:
    _voc(tmp_path / below)
    folder = open_annotated(tmp_path)
    assert folder.names == ["2007_000001", "2007_000002", "2007_000003"]
    assert folder.class_values == tuple(range(21))
    assert (folder.class_names[0], folder.class_names[15], folder.class_names[20]) == (
        "background",
        "person",
        "tvmonitor",
    )
    sample = folder.load(0)
    expected = np.full((HEIGHT, WIDTH), -1)
    expected[0:3] = 0  # X 2..7 counted from 1, one pixel wider on every side
    expected[4:6] = 20
    np.testing.assert_array_equal(sample.seeds.numpy(), expected)
    assert sample.truth is not None
    assert sample.truth[3].unique().tolist() == [-1]  # VOC's own mask, with its void
    assert sample.truth[0].unique().tolist() == [0]
    assert sample.truth[5].unique().tolist() == [20]
    other = folder.load(2).truth
    assert other is not None
    assert other[3].unique().tolist() == [0]  # SBD's, which has none
    (warning,) = folder.warnings
    assert warning.startswith("Classes 1 (aeroplane), 2 (bicycle), ")
    assert warning.count("(") == 19


def test_voc_validates_on_the_list_that_is_named(tmp_path: Path) -> None:
    root = _voc(tmp_path)
    folder = open_annotated(root / "ImageSets" / "Segmentation" / "val.txt", need="masks")
    assert folder.names == ["2007_000004"]
    ((name, why),) = folder.skipped
    assert name == "2007_000009"
    assert "JPEGImages has no image 2007_000009" in why


def test_voc_strokes_are_shortened_along_their_length(tmp_path: Path) -> None:
    root = _voc(tmp_path)
    dot = open_annotated(root, length_ratio=0.0).load(0).seeds
    # halfway between X 2 and 7, counted from 0: column 3.5, which rounds to 4
    assert np.argwhere(dot.numpy() == 0).tolist() == [[y, x] for y in (0, 1, 2) for x in (3, 4, 5)]


def test_voc_strokes_may_be_pictures(tmp_path: Path) -> None:
    root = _voc(tmp_path)
    for i in (1, 2, 3):
        (root / "scribble_annotation" / "pascal_2012" / f"2007_00000{i}.xml").unlink()
        write(root / "pascal_2012_scribble" / f"2007_00000{i}.png", strokes({0: (1,), 15: (3,)}))
    assert set(open_annotated(root).load(1).seeds.unique().tolist()) == {-1, 0, 15}


def test_voc_says_what_it_lacks(tmp_path: Path) -> None:
    root = _voc(tmp_path)
    xml = root / "scribble_annotation" / "pascal_2012" / "2007_000002.xml"
    xml.write_text(f"<annotation>{_polygon('unicorn', (1, 1))}</annotation>")
    with pytest.raises(
        InputError, match=r"000002\.xml has a stroke of 'unicorn'; the classes are: background"
    ):
        open_annotated(root)
    xml.write_text("<annotation>")
    assert [name for name, _ in open_annotated(root).skipped] == ["2007_000002"]
    for file in (root / "ImageSets" / "Segmentation").glob("train*"):
        file.unlink()
    with pytest.raises(
        InputError, match=r"no training list in .*; looked for ImageSets/Segmentation/train_aug"
    ):
        open_annotated(root)


def _cityscapes(root: Path) -> Path:
    for split, city, frame in (
        ("train", "aachen", "aachen_000000_000019"),
        ("train", "ulm", "ulm_000001_000019"),
        ("val", "munster", "munster_000000_000019"),
    ):
        write(root / "leftImg8bit" / split / city / f"{frame}_leftImg8bit.png", photo())
        labels = np.zeros((HEIGHT, WIDTH), np.uint8)  # unlabelled, out of roi, ... are not scored
        labels[1], labels[2], labels[3], labels[4] = 7, 33, 11, 29
        write(root / "gtFine" / split / city / f"{frame}_gtFine_labelIds.png", labels)
        write(root / "gtFine" / split / city / f"{frame}_gtFine_instanceIds.png", labels)
        write(root / "scribbles" / split / city / f"{frame}_scribbles.png", strokes({0: (1,), 18: (2,)}))
    return root


def test_cityscapes_label_ids_become_train_ids(tmp_path: Path) -> None:
    folder = open_annotated(_cityscapes(tmp_path))
    assert folder.names == ["aachen_000000_000019", "ulm_000001_000019"]
    assert len(folder.class_values) == 19
    assert (folder.class_names[0], folder.class_names[2], folder.class_names[18]) == (
        "road",
        "building",
        "bicycle",
    )
    truth = folder.load(1).truth
    assert truth is not None
    assert [row.unique().tolist() for row in truth] == [[-1], [0], [18], [2], [-1], [-1]]
    assert set(folder.load(0).seeds.unique().tolist()) == {-1, 0, 18}


def test_cityscapes_split_is_named_by_its_folder(tmp_path: Path) -> None:
    root = _cityscapes(tmp_path)
    assert open_annotated(root / "leftImg8bit" / "val", need="masks").names == ["munster_000000_000019"]


def _ade20k(root: Path) -> Path:
    for split, prefix in (("training", "ADE_train"), ("validation", "ADE_val")):
        name = f"{prefix}_00000001"
        write(root / "images" / split / f"{name}.jpg", photo())
        labels = np.full((HEIGHT, WIDTH), 150, np.uint8)
        labels[0], labels[1] = 0, 1
        write(root / "annotations" / split / f"{name}.png", labels)
        write(root / "scribbles" / split / f"{name}.png", strokes({1: (1,), 150: (4,)}, 0))
    return root


def test_ade20k_counts_its_classes_from_1(tmp_path: Path) -> None:
    root = _ade20k(tmp_path)
    (root / "objectInfo150.txt").write_text(
        "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.16\t11664\t1172\t1\twall\n2\t0.1\t6046\t612\t1\tbuilding, edifice\n"
    )
    folder = open_annotated(root)
    assert folder.names == ["ADE_train_00000001"]
    assert folder.class_values == tuple(range(1, 151))
    assert folder.class_names[:3] == ("wall", "building", "class 3")
    sample = folder.load(0)
    assert sample.truth is not None
    assert [row.unique().tolist() for row in sample.truth[:3]] == [[-1], [0], [149]]
    assert set(sample.seeds.unique().tolist()) == {-1, 0, 149}
    validation = open_annotated(root / "images" / "validation", need="masks")
    assert validation.names == ["ADE_val_00000001"]


def _blocks(root: Path) -> Path:
    for split in ("train", "val"):
        write(root / split / "image" / "ADE_1.jpg", photo())
        write(root / split / "label" / "ADE_1.png", strokes({2: (1,), 3: (2,)}, 0))
    for share in (10, 50):
        write(root / f"train/sparse_label/block{share}/ADE_1.png", strokes({share: (1,), 3: (2,)}, 0))
    return root


def test_block_scribbles_are_chosen_by_their_folder(tmp_path: Path) -> None:
    root = _blocks(tmp_path)
    with pytest.raises(
        InputError, match=r"several sets of scribbles; name one: .*block10, .*block50, or .*label"
    ):
        open_annotated(root)
    for share in (10, 50):
        folder = open_annotated(root / "train" / "sparse_label" / f"block{share}")
        assert set(folder.load(0).seeds.unique().tolist()) == {-1, 2, share - 1}
    masks = open_annotated(root / "train" / "label", need="masks").load(0)
    assert masks.truth is not None
    assert set(masks.truth.unique().tolist()) == {-1, 1, 2}
    assert len(open_annotated(root / "val", need="masks")) == 1
    for file in (root / "train/sparse_label/block10").iterdir():
        file.unlink()
    (root / "train/sparse_label/block10").rmdir()
    assert set(open_annotated(root).load(0).seeds.unique().tolist()) == {-1, 2, 49}
