"""What was taken out comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_softseg.errors import InputError
from napari_softseg.project import Project, ProjectClass, open_project
from tests.project.conftest import CLASSES, PHOTO, STROKES


def _reread(project: Project, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    with open_project(project.path, read_only=True) as opened:
        return opened.read_scribbles(name)


def test_a_class_goes_with_its_strokes_in_every_image_and_comes_back(project: Project) -> None:
    project.add_image(PHOTO, name="second", scribbles=np.full((6, 8), 4))
    project.add_image(PHOTO, name="without", scribbles=np.where(STROKES == 4, 0, STROKES))
    untouched = project.path / "scribbles" / "without.png"
    before = untouched.stat().st_mtime_ns
    removed = project.remove_class(4)
    assert (removed.removed, removed.painted) == (CLASSES[1], 6 + 48)
    assert [one.value for one in project.manifest.classes] == [1]
    np.testing.assert_array_equal(_reread(project, "photo"), np.where(STROKES == 4, 0, STROKES))
    assert not _reread(project, "second").any()
    assert untouched.stat().st_mtime_ns == before
    project.restore_class(removed)
    assert project.manifest.classes == CLASSES
    np.testing.assert_array_equal(_reread(project, "photo"), STROKES)
    assert (_reread(project, "second") == 4).all()


def test_what_was_painted_since_stays(project: Project) -> None:
    removed = project.remove_class(4)
    strokes = project.read_scribbles("photo")
    strokes[4, :3] = 1
    project.write_scribbles("photo", strokes)
    project.restore_class(removed)
    expected = STROKES.copy()
    expected[4, :3] = 1
    np.testing.assert_array_equal(_reread(project, "photo"), expected)


def test_a_class_does_not_come_back_over_another(project: Project) -> None:
    removed = project.remove_class(4)
    project.change(classes=[CLASSES[0], ProjectClass(4, "car", (0, 0, 0))])
    with pytest.raises(InputError, match="different, ascending values"):
        project.restore_class(removed)
    assert not (_reread(project, "photo") == 4).any()


def test_strokes_that_cannot_be_read_stop_the_removal_before_anything_changed(project: Project) -> None:
    project.add_image(PHOTO, name="second")
    (project.path / "scribbles" / "second.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"second\.png cannot be read"):
        project.remove_class(4)
    assert project.manifest.classes == CLASSES
    np.testing.assert_array_equal(_reread(project, "photo"), STROKES)
    with pytest.raises(InputError, match="has no class 7"):
        project.remove_class(7)


def test_strokes_that_came_as_tiff_are_erased_too(project: Project) -> None:
    (project.path / "scribbles" / "photo.png").unlink()
    tifffile.imwrite(project.path / "scribbles" / "photo.tif", STROKES)
    project.remove_class(4)
    np.testing.assert_array_equal(_reread(project, "photo"), np.where(STROKES == 4, 0, STROKES))


def test_an_image_goes_with_its_files_and_comes_back_to_its_place(project: Project) -> None:
    project.add_image(PHOTO, name="second")
    soft = np.full((2, 6, 8), 0.5, np.float32)
    project.write_soft_labels("photo", soft)
    removed = project.remove_image("photo")
    assert project.names == ["second"]
    kept = sorted(path.name for path in project.path.glob("*/*.*"))
    assert kept == ["second.png"]
    with Image.open(project.path / "removed" / "photo" / "scribbles" / "photo.png") as strokes:
        np.testing.assert_array_equal(np.array(strokes), STROKES)
    project.restore_image(removed)
    assert project.names == ["photo", "second"]
    np.testing.assert_array_equal(_reread(project, "photo"), STROKES)
    np.testing.assert_array_equal(project.read_image("photo"), PHOTO)
    np.testing.assert_array_equal(project.read_soft_labels("photo"), soft)


def test_a_removed_image_can_be_added_again_without_its_old_strokes(project: Project, photo: Path) -> None:
    first = project.remove_image("photo")
    project.add_image(photo)
    assert not project.read_scribbles("photo").any()
    with pytest.raises(InputError, match="image name 'photo' is there twice"):
        project.restore_image(first)
    second = project.remove_image("photo")
    assert second.folder != first.folder
    project.restore_image(first)
    np.testing.assert_array_equal(_reread(project, "photo"), STROKES)


def test_a_referenced_image_stays_where_it_is(project: Project, tmp_path: Path) -> None:
    far = tmp_path / "far.png"
    Image.fromarray(PHOTO).save(far)
    project.add_image(far, scribbles=STROKES, copy=False)
    project.remove_image("far")
    assert far.exists()
