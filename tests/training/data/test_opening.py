"""A folder opens whole, or says in one line what is wrong with it."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import torch
from PIL import Image

from napari_softseg.errors import InputError
from napari_softseg.project import ProjectClass, create_project
from napari_softseg.solver.intensity import to_intensity
from napari_softseg.training.data import join_folders, open_annotated
from tests.training.data.folders import HEIGHT, WIDTH, photo, plain_folder, strokes, write

CAMVID = Path(__file__).resolve().parents[4] / "shared" / "data" / "camvid"


def _refused(path: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        open_annotated(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_plain_folder_opens_as_it_is_on_disk(tmp_path: Path) -> None:
    folder = open_annotated(plain_folder(tmp_path, masks=True))
    assert folder.path == tmp_path
    assert folder.names == ["a", "b", "c"]
    assert len(folder) == 3
    assert folder.class_values == (1, 2)
    assert folder.class_names == ("class 1", "class 2")
    assert folder.in_channels == 3
    assert folder.skipped == []
    assert folder.warnings == []
    sample = folder.load(1)
    assert sample.name == "b"
    assert sample.image.dtype == torch.float32
    np.testing.assert_array_equal(sample.image.numpy(), np.moveaxis(photo(1), 2, 0))
    expected = np.full((HEIGHT, WIDTH), -1)
    expected[1, 1:-1], expected[4, 1:-1] = 0, 1
    np.testing.assert_array_equal(sample.seeds.numpy(), expected)
    assert sample.truth is not None
    truth = np.ones((HEIGHT, WIDTH))
    truth[:3] = 0
    truth[0, 0] = -1
    np.testing.assert_array_equal(sample.truth.numpy(), truth)
    assert sample.valid.all()
    assert sample.seeds.dtype == sample.truth.dtype == torch.int64


def test_an_open_folder_can_be_sent_to_another_process(tmp_path: Path) -> None:
    folder = open_annotated(plain_folder(tmp_path))
    again = pickle.loads(pickle.dumps(folder))
    assert torch.equal(again.load(0).image, folder.load(0).image)


def test_partners_are_found_by_stem_whatever_the_format(tmp_path: Path) -> None:
    write(tmp_path / "images" / "a.jpg", photo())
    tifffile.imwrite(tmp_path / "images" / "b.ome.tif", photo(1), photometric="rgb")
    write(tmp_path / "images" / "c.npy", photo(2))
    write(tmp_path / "scribbles" / "a.png", strokes({1: (1,), 2: (4,)}))
    write(tmp_path / "scribbles" / "b.tif", strokes({1: (1,), 2: (4,)}))
    write(tmp_path / "scribbles" / "c.npy", strokes({1: (1,), 2: (4,)}))
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    (tmp_path / "images" / ".hidden.png").write_bytes(b"")
    folder = open_annotated(tmp_path)
    assert folder.names == ["a", "b", "c"]
    np.testing.assert_array_equal(folder.load(1).image.numpy(), np.moveaxis(photo(1), 2, 0))


@pytest.mark.parametrize("listed_in", [".", ".."])
def test_names_come_from_the_class_list_here_or_above(tmp_path: Path, listed_in: str) -> None:
    path = plain_folder(tmp_path / "train")
    (path / listed_in / "classes.txt").write_text("sky\nroad\n\ntree\n")
    folder = open_annotated(path)  # 255 can be no class, so that the values count from 0
    assert folder.class_values == (0, 1, 2)
    assert folder.class_names == ("sky", "road", "tree")
    assert folder.warnings == ["Class 0 (sky) has no stroke in any image: strokes will not teach it."]


def test_names_count_from_1_where_0_is_unlabelled(tmp_path: Path) -> None:
    path = plain_folder(tmp_path, unlabelled=0)
    (path / "classes.txt").write_text("sky\nroad\n")
    folder = open_annotated(path)
    assert folder.rules[0].unlabelled == 0
    assert dict(zip(folder.class_values, folder.class_names, strict=True)) == {1: "sky", 2: "road"}
    assert set(folder.load(0).seeds.unique().tolist()) == {-1, 0, 1}


def test_values_can_be_given_with_the_names(tmp_path: Path) -> None:
    path = plain_folder(tmp_path)
    (path / "classes.txt").write_text("2 = road\n1=sky\n7=tree\n")
    folder = open_annotated(path)
    assert dict(zip(folder.class_values, folder.class_names, strict=True)) == {1: "sky", 2: "road", 7: "tree"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sky\nsky\n", "names the class 'sky' twice"),
        ("1=sky\n1=road\n", "gives one value to two classes"),
        ("one=sky\n2=road\n", "mixes VALUE=NAME with other lines"),
        ("1=sky\nroad\n", "mixes VALUE=NAME with other lines"),
        ("1=sky\n2=\n", "mixes VALUE=NAME with other lines"),
        ("\n", "Found no class in"),
        ("sky\n", "name another in its list of classes"),
        ("300=sky\n2=road\n", "from 0 to 255"),
        ("sky\n", "needs two to tell apart"),
    ],
)
def test_a_class_list_that_cannot_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = plain_folder(tmp_path)
    (path / "classes.txt").write_text(text)
    assert message in _refused(path)


def test_what_means_unlabelled_is_asked_where_it_is_not_plain(tmp_path: Path) -> None:
    path = plain_folder(tmp_path, 1)
    write(path / "scribbles" / "a.png", strokes({0: (0,), 1: (1,), 2: (4,)}))
    assert "hold 0, 1, 2, 255; pass it as unlabelled (--unlabelled 0 or 255)" in _refused(path)
    assert open_annotated(path, unlabelled=255).class_values == (0, 1, 2)
    assert open_annotated(path, unlabelled=0).class_values == (1, 2, 255)
    (path / "classes.txt").write_text("sky\nroad\ntree")  # now 255 can be no class
    assert open_annotated(path).class_values == (0, 1, 2)


def test_classes_of_a_model_replace_the_folders_own(tmp_path: Path) -> None:
    folder = open_annotated(
        plain_folder(tmp_path, masks=True), classes={1: "a", 2: "b", 9: "c"}, need="masks"
    )
    assert folder.class_values == (1, 2, 9)
    assert folder.class_names == ("a", "b", "c")


def test_masks_alone_are_enough_where_masks_are_needed(tmp_path: Path) -> None:
    path = plain_folder(tmp_path, masks=True)
    shutil.rmtree(path / "scribbles")
    folder = open_annotated(path, need="masks")
    assert folder.class_values == (1, 2)
    assert folder.warnings == []
    assert (folder.load(0).seeds == -1).all()
    assert len(open_annotated(path, need="any")) == 3
    said = _refused(path)
    assert "Found no scribbles for any of the 3 images" in said
    assert "their files need the stems of the images, such as a." in said


def test_images_without_the_labels_needed_are_left_out_and_listed(tmp_path: Path) -> None:
    path = plain_folder(tmp_path, 4)
    (path / "scribbles" / "b.png").unlink()
    write(path / "scribbles" / "c.png", strokes({}))
    write(path / "scribbles" / "z.png", strokes({1: (0,)}))
    folder = open_annotated(path, strict=True)
    assert folder.names == ["a", "d"]
    reasons = dict(folder.skipped)
    assert sorted(reasons) == ["b", "c", "z"]
    assert "b.png has no scribbles" in reasons["b"]
    assert "c.png has no stroke: every pixel is 255" in reasons["c"]
    assert "z.png has no image of the same stem" in reasons["z"]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def _flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("part", ["images", "scribbles", "masks"])
@pytest.mark.parametrize(
    "damage",
    [_cut, _flip_a_bit, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"<html>")],
)
def test_a_damaged_file_leaves_its_image_out_or_is_refused(
    tmp_path: Path, part: str, damage: Callable[[Path], object]
) -> None:
    path = plain_folder(tmp_path, masks=True)
    damage(path / part / "b.png")
    folder = open_annotated(path)
    assert folder.names == ["a", "c"]
    ((name, why),) = folder.skipped
    assert name == "b"
    assert str(path / part / "b.png") in why
    assert "\n" not in why
    assert str(path / part / "b.png") in _refused(path, strict=True)


def test_pixels_that_are_no_numbers_leave_the_image_out(tmp_path: Path) -> None:
    path = plain_folder(tmp_path)
    (path / "images" / "b.png").unlink()
    pixels = photo().astype(np.float32)
    pixels[2, 3, 1] = np.nan
    write(path / "images" / "b.npy", pixels)
    assert dict(open_annotated(path).skipped)["b"].endswith(
        "b.npy has NaN or infinite pixels; replace them, for example by the mean of the others."
    )


def test_a_class_cannot_be_left_out_of_masks(tmp_path: Path) -> None:
    path = plain_folder(tmp_path, masks=True)
    (path / "classes.txt").write_text("1=sky\n2=road\n")
    assert "the value 2 cannot be the class 'road' and be left out of masks at once" in _refused(
        path, ignore=2
    )
    (path / "classes.txt").unlink()
    assert "the value 2 cannot be the class 'class 2'" in _refused(path, ignore=2)
    assert open_annotated(path, ignore=7).class_values == (1, 2)


def test_nothing_usable_says_why(tmp_path: Path) -> None:
    path = plain_folder(tmp_path, 1)
    (path / "images" / "a.png").write_bytes(b"<html>")
    assert "Found no usable image in" in _refused(path)
    assert "a.png cannot be read" in _refused(path)


@pytest.mark.parametrize("part", ["scribbles", "masks"])
def test_labels_of_another_size_are_refused(tmp_path: Path, part: str) -> None:
    path = plain_folder(tmp_path, masks=True)
    write(path / part / "b.png", strokes({1: (0,)})[:, :5])
    assert f"{part}/b.png has 6 x 5 pixels, but" in _refused(path)
    assert "b.png has 6 x 8; labels need one value per image pixel" in _refused(path)


def test_values_outside_of_the_list_are_refused(tmp_path: Path) -> None:
    path = plain_folder(tmp_path, masks=True)
    (path / "classes.txt").write_text("sky\nroad\ntree\n")
    write(path / "scribbles" / "b.png", strokes({1: (0,), 9: (2,)}))
    assert "scribbles/b.png holds 9, which is not among the classes 0, 1, 2" in _refused(path, unlabelled=255)
    assert "scribbles/b.png holds 9, which is not among the classes 0, 1, 2" in _refused(path)
    wide = strokes({1: (0,)}).astype(np.uint16)
    wide[wide == 255] = 65535
    write(path / "scribbles" / "b.png", wide)
    said = _refused(path)
    assert "b.png holds 65535, which is not among the classes 0, 1, 2; label files hold 0 to 255" in said
    assert "--unlabelled" not in said  # which takes no such value
    write(path / "scribbles" / "b.png", strokes({1: (0,), 9: (2,)}))
    (path / "classes.txt").write_text("1=sky\n2=road\n")
    assert "scribbles/b.png holds 9, which is not among the classes 1, 2" in _refused(path)
    (path / "classes.txt").write_text("sky\nroad\ntree\n")
    write(path / "scribbles" / "b.png", strokes({1: (0,)}))
    write(path / "masks" / "c.png", strokes({7: (0,)}))
    assert (
        "masks/c.png holds 7, which is not among the classes 0, 1, 2; if it means an unknown class, say"
        in (_refused(path))
    )


def test_masks_alone_that_count_from_1_say_how_to_read_them(tmp_path: Path) -> None:
    path = plain_folder(tmp_path, masks=True)
    shutil.rmtree(path / "scribbles")
    (path / "classes.txt").write_text("sky\nroad\n")
    assert "if the classes are counted from 1, say --unlabelled 0" in _refused(path, need="masks")
    assert open_annotated(path, need="masks", unlabelled=0).class_values == (1, 2)


def test_a_wrong_unlabelled_value_is_noticed(tmp_path: Path) -> None:
    path = plain_folder(tmp_path)
    (path / "classes.txt").write_text("sky\nroad\ntree\n")
    assert "if it means no stroke, say --unlabelled 255" in _refused(path, unlabelled=0)


def test_no_value_is_a_class_and_unlabelled_at_once(tmp_path: Path) -> None:
    path = plain_folder(tmp_path, masks=True)
    (path / "classes.txt").write_text("1=sky\n2=road\n255=tree\n")
    assert "the value 255 cannot be the class 'tree' and mean no stroke" in _refused(path, unlabelled=255)
    shutil.rmtree(path / "scribbles")  # masks alone know no strokes
    assert len(open_annotated(path, unlabelled=255, need="masks")) == 3


def test_strokes_of_one_class_are_not_enough(tmp_path: Path) -> None:
    path = plain_folder(tmp_path, 1)
    (path / "classes.txt").write_text("sky\nroad\n")
    write(path / "scribbles" / "a.png", strokes({1: (1,)}))
    assert "Found strokes of one class in the 1 usable images of" in _refused(path)
    write(path / "scribbles" / "a.png", strokes({}))
    assert "Found no strokes in the 1 usable images of" in _refused(path)


@pytest.mark.parametrize("part", ["images", "scribbles", "masks"])
def test_two_files_of_one_stem_are_refused(tmp_path: Path, part: str) -> None:
    path = plain_folder(tmp_path, masks=True)
    shutil.copy(path / part / "b.png", path / part / "b.bmp")
    message = _refused(path)
    assert "b.bmp and b.png have the same stem 'b'; rename one" in message


def test_no_images_at_all(tmp_path: Path) -> None:
    path = plain_folder(tmp_path)
    shutil.rmtree(path / "images")
    (path / "images").mkdir()
    assert f"Found no images in {path}; expected PNG, JPEG" in _refused(path)


def test_an_unknown_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    message = _refused(tmp_path)
    for part in (
        "project.json",
        "images/ with scribbles/",
        "JPEGImages/",
        "leftImg8bit/",
        "images/training/",
    ):
        assert part in message
    assert "does not exist" in _refused(tmp_path / "gone")
    assert "is no annotated folder" in _refused(write(tmp_path / "photo.png", photo()))


def test_one_image_is_enough(tmp_path: Path) -> None:
    assert len(open_annotated(plain_folder(tmp_path, 1))) == 1


@pytest.mark.parametrize(
    ("pixels", "channels"),
    [
        (photo()[..., 0], 1),
        (photo().astype(np.uint16) * 257, 3),
        (np.random.default_rng(0).integers(0, 4000, (40, 50, 5), dtype=np.uint16), 5),
        (np.random.default_rng(0).random((HEIGHT, WIDTH), dtype=np.float32), 1),
    ],
    ids=["grey", "16 bit", "5 channels", "float"],
)
def test_any_image_becomes_intensities_as_in_the_solver(
    tmp_path: Path, pixels: npt.NDArray[Any], channels: int
) -> None:
    write(tmp_path / "images" / "a.tif", pixels)
    drawn = np.full(pixels.shape[:2], 255, np.uint8)
    drawn[0], drawn[3] = 1, 2
    write(tmp_path / "scribbles" / "a.png", drawn)
    folder = open_annotated(tmp_path)
    assert folder.in_channels == channels
    image = folder.load(0).image
    assert image.shape == (channels, *pixels.shape[:2])
    np.testing.assert_array_equal(image.numpy(), np.moveaxis(to_intensity(pixels), 2, 0))


def test_images_of_different_channels_are_refused(tmp_path: Path) -> None:
    path = plain_folder(tmp_path)
    write(path / "images" / "c.png", photo()[..., 0])
    assert "a.png has 3, but" in _refused(path)
    assert "c.png has 1; convert one kind" in _refused(path)


def test_transparency_is_no_channel(tmp_path: Path) -> None:
    path = plain_folder(tmp_path)
    write(path / "images" / "c.png", np.dstack([photo(2), np.full((HEIGHT, WIDTH), 255, np.uint8)]))
    assert open_annotated(path).in_channels == 3


def test_palette_scribbles_are_read_by_index(tmp_path: Path) -> None:
    path = plain_folder(tmp_path, 1)
    picture = Image.fromarray(strokes({1: (1,), 2: (4,)}))
    picture.putpalette(np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8).tobytes())
    picture.save(path / "scribbles" / "a.png")
    assert open_annotated(path).class_values == (1, 2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    path = plain_folder(tmp_path)
    (path / "images").chmod(0)
    try:
        assert "Permission denied" in _refused(path)
    finally:
        (path / "images").chmod(0o755)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["classes.txt", "images/a.png", "scribbles/a.png"])
def test_a_file_nobody_may_read_is_named(tmp_path: Path, name: str) -> None:
    path = plain_folder(tmp_path)
    (path / "classes.txt").write_text("1=sky\n2=road\n")
    (path / name).chmod(0)
    assert f"{path / name} cannot be read: Permission denied; check" in _refused(path, strict=True)


@pytest.mark.parametrize("ratio", [-0.1, 1.1])
def test_a_length_ratio_outside_0_to_1_is_refused(tmp_path: Path, ratio: float) -> None:
    assert f"length_ratio to be from 0 to 1, but got {ratio:g}" in _refused(
        plain_folder(tmp_path), length_ratio=ratio
    )


def test_strokes_of_pixels_are_shortened(tmp_path: Path) -> None:
    path = plain_folder(tmp_path)
    seeds = open_annotated(path, length_ratio=0.5).load(0).seeds
    assert (seeds[1] == 0).nonzero().flatten().tolist() in ([3, 4], [3, 4, 5], [2, 3, 4])


def test_a_project_opens_with_its_classes(tmp_path: Path) -> None:
    project = create_project(
        tmp_path / "project", [ProjectClass(3, "sky", (1, 2, 3)), ProjectClass(5, "road", (4, 5, 6))]
    )
    project.add_image(photo(), name="one", scribbles=strokes({3: (1,), 5: (4,)}, 0))
    elsewhere = write(tmp_path / "two.png", photo(1))
    project.add_image(elsewhere, copy=False, scribbles=strokes({3: (1,), 5: (2,)}, 0))
    project.add_image(photo(2), name="three")
    for path in (project.path, project.path / "project.json"):
        folder = open_annotated(path)
        assert folder.path == path
        assert folder.names == ["one", "two"]
        assert folder.class_values == (3, 5)
        assert folder.class_names == ("sky", "road")
        assert [name for name, _ in folder.skipped] == ["three"]
        assert set(folder.load(0).seeds.unique().tolist()) == {-1, 0, 1}
        np.testing.assert_array_equal(folder.load(1).image.numpy(), np.moveaxis(photo(1), 2, 0))
    (project.path / "images" / "one.png").write_bytes(b"")
    assert [name for name, _ in open_annotated(project.path).skipped] == ["one", "three"]


def test_joined_folders_are_one(tmp_path: Path) -> None:
    one, two = (open_annotated(plain_folder(tmp_path / name)) for name in ("one", "two"))
    both = join_folders([one, two])
    assert both.names == ["one/a", "one/b", "one/c", "two/a", "two/b", "two/c"]
    assert len(both) == 6
    assert torch.equal(both.load(4).image, two.load(1).image)
    assert both.class_values == one.class_values
    assert join_folders([one]).names == one.names


def test_each_joined_folder_keeps_the_meaning_of_its_files(tmp_path: Path) -> None:
    whole = open_annotated(plain_folder(tmp_path / "one", unlabelled=255))
    middle = open_annotated(plain_folder(tmp_path / "two", unlabelled=0), length_ratio=0.5)
    both = join_folders([whole, middle])
    assert torch.equal(both.load(0).seeds, whole.load(0).seeds)
    assert torch.equal(both.load(3).seeds, middle.load(0).seeds)
    assert not torch.equal(both.load(0).seeds, both.load(3).seeds)


def test_folders_of_different_classes_or_channels_are_not_joined(tmp_path: Path) -> None:
    one = open_annotated(plain_folder(tmp_path / "one"))
    named = plain_folder(tmp_path / "named")
    (named / "classes.txt").write_text("1=sky\n2=road\n")
    with pytest.raises(InputError, match=r"value 1 is 'class 1' in .*one, but 'sky' in .*named"):
        join_folders([one, open_annotated(named)])
    (named / "classes.txt").write_text("1=class 1\n2=class 2\n4=road")
    with pytest.raises(InputError, match=r"value 4 is no class in .*one, but 'road' in .*named"):
        join_folders([one, open_annotated(named)])
    grey = plain_folder(tmp_path / "grey", 1)
    write(grey / "images" / "a.png", photo()[..., 0])
    with pytest.raises(InputError, match=r"3 channels, but .*grey of 1"):
        join_folders([one, open_annotated(grey)])
    with pytest.raises(InputError, match="at least one annotated folder"):
        join_folders([])


@pytest.mark.skipif(not CAMVID.is_dir(), reason="needs ../shared/data/camvid")
def test_camvid_opens_as_it_is() -> None:
    folder = open_annotated(CAMVID / "val", need="masks")
    assert len(folder) == 50
    assert folder.class_values == tuple(range(11))
    assert folder.class_names[:3] == ("sky", "building", "pole")
    train = open_annotated(CAMVID / "train")
    assert len(train) == 100
    assert (train.skipped, train.warnings) == ([], [])
    sample = train.load(7)
    assert sample.truth is not None
    drawn = (sample.seeds >= 0) & (sample.truth >= 0)
    assert torch.equal(sample.seeds[drawn], sample.truth[drawn])
    assert 0.01 < (sample.seeds >= 0).float().mean() < 0.06
