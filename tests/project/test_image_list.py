"""What is said about each image: its strokes, how certain its labels are, and whether its file is the same."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_softseg.errors import InputError
from napari_softseg.project import ImageStatus, Project, ProjectClass, open_project
from tests.project.conftest import CLASSES, PHOTO, STROKES


@pytest.fixture
def far(tmp_path: Path, project: Project) -> Path:
    path = tmp_path / "far.png"
    Image.fromarray(PHOTO[::-1]).save(path)
    project.add_image(path, copy=False)
    return path


def test_status_follows_the_strokes(project: Project) -> None:
    assert project.status("photo") == ImageStatus("photo", {1: 3, 4: 6}, 9 / 48, None, "")
    strokes = STROKES.copy()
    strokes[0] = 4
    project.write_scribbles("photo", strokes)
    assert project.status("photo") == ImageStatus("photo", {1: 3, 4: 14}, 17 / 48, None, "")
    project.add_image(PHOTO, name="bare")
    assert project.status("bare") == ImageStatus("bare", {1: 0, 4: 0}, 0.0, None, "")


def test_entropy_of_the_soft_labels(project: Project) -> None:
    soft = np.zeros((2, 6, 8), np.float32)
    soft[:, :3] = 0.5
    soft[0, 3:] = 1
    project.write_soft_labels("photo", soft)
    assert project.status("photo").entropy == pytest.approx(0.5)
    np.testing.assert_array_equal(project.read_soft_labels("photo"), soft)
    project.change(classes=[*CLASSES, ProjectClass(9, "car", (0, 0, 0))])
    assert project.status("photo").entropy is None  # of other classes than today's
    assert project.read_soft_labels("photo") is None
    project.change(classes=CLASSES)
    np.testing.assert_array_equal(project.read_soft_labels("photo"), soft)


def test_what_is_no_probability_is_refused(project: Project) -> None:
    with pytest.raises(InputError, match="Expected probabilities"):
        project.write_soft_labels("photo", np.full((2, 6, 8), np.nan, np.float32))
    assert project.read_soft_labels("photo") is None


def test_damaged_files_are_a_problem_and_no_end(project: Project) -> None:
    (project.path / "scribbles" / "photo.png").write_bytes(b"no picture")
    project.soft_labels_path("photo").write_bytes(b"no labels")
    status = project.status("photo")
    assert "photo.png cannot be read" in status.problem
    assert (status.strokes, status.labelled, status.entropy) == ({1: 0, 4: 0}, 0, None)


def test_a_file_that_is_gone_is_told(project: Project, far: Path) -> None:
    assert project.check("far") == ""
    far.unlink()
    assert project.check("far") == f"the image file is gone: there is no {far}"
    assert project.status("far").problem == project.check("far")


def test_a_file_that_changed_is_told_even_at_the_same_size(project: Project, far: Path) -> None:
    content = bytearray(far.read_bytes())
    content[-1] ^= 1
    far.write_bytes(content)
    os.utime(far, ns=(1, 1))
    assert project.check("far") == f"the image file changed since it was added: {far}"
    far.write_bytes(content + b"longer")
    assert "changed since it was added" in project.check("far")


def test_a_file_written_anew_with_the_same_content_is_the_same(project: Project, far: Path) -> None:
    os.utime(far, ns=(1, 1))
    assert project.check("far") == ""
    project.change(settings={})  # writes what was learnt
    with open_project(project.path, read_only=True) as opened:
        fingerprint = opened.manifest.image("far").fingerprint
        assert fingerprint is not None
        assert fingerprint.modified == 1


def test_a_reference_is_moved_with_its_strokes(project: Project, far: Path, tmp_path: Path) -> None:
    project.write_scribbles("far", STROKES)
    moved = far.rename(tmp_path / "moved.png")
    assert project.relocate("far", moved) == ""
    assert project.image_path("far") == moved
    np.testing.assert_array_equal(project.read_image("far"), PHOTO[::-1])
    np.testing.assert_array_equal(project.read_scribbles("far"), STROKES)
    with open_project(project.path, read_only=True) as opened:
        assert opened.image_path("far") == moved


def test_others_that_moved_along_are_found_if_they_are_the_same(
    project: Project, far: Path, tmp_path: Path
) -> None:
    others = [tmp_path / f"other{i}.npy" for i in range(3)]
    for i, path in enumerate(others):
        np.save(path, PHOTO + np.uint8(i))
        project.add_image(path, copy=False)
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in (far, *others):
        path.rename(moved / path.name)
    np.save(moved / "other1.npy", PHOTO)  # of the same size, but another
    (moved / "other2.npy").unlink()
    assert project.relocate("far", moved / "far.png") == ""
    problems = {name: project.check(name) for name in project.names}
    assert [name for name, problem in problems.items() if not problem] == ["photo", "far", "other0"]
    assert project.image_path("other0") == moved / "other0.npy"


def test_another_picture_is_taken_when_asked_for_and_told_to_differ(
    project: Project, far: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.png"
    Image.fromarray(PHOTO // 2).save(other)
    assert project.relocate("far", other) == f"{other} is not the file that was added: its content differs"
    assert project.check("far") == ""
    Image.fromarray(PHOTO[:4]).save(other)
    with pytest.raises(InputError, match=r"has 4 x 8 pixels, but 'far' has 6 x 8"):
        project.relocate("far", other)


def test_a_copy_that_is_gone_is_copied_again(project: Project, photo: Path) -> None:
    project.image_path("photo").unlink()
    assert "is gone" in project.check("photo")
    assert project.relocate("photo", photo) == ""
    assert project.image_path("photo") == project.path / "images" / "photo.png"
    assert project.check("photo") == ""


def test_a_changed_copy_is_kept_when_asked_for(project: Project) -> None:
    path = project.image_path("photo")
    Image.fromarray(PHOTO // 2).save(path)
    assert "changed since it was added" in project.check("photo")
    assert "its content differs" in project.relocate("photo", path)
    assert project.check("photo") == ""
    np.testing.assert_array_equal(project.read_image("photo"), PHOTO // 2)
