"""Copies of a project: to work on elsewhere, and to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_softseg.errors import InputError
from napari_softseg.project import Project, open_project
from tests.project.conftest import PHOTO, STROKES


def test_a_copy_holds_all_and_shares_nothing(project: Project, tmp_path: Path) -> None:
    far = tmp_path / "far.png"
    Image.fromarray(PHOTO).save(far)
    project.add_image(far, copy=False)
    project.write_soft_labels("photo", np.full((2, 6, 8), 0.5, np.float32))
    run = project.path / "models" / "first"
    run.mkdir()
    (run / "best.safetensors").write_bytes(b"network")
    (run / ".lock").touch()
    with project.save_as(tmp_path / "copy") as copy:
        assert copy.read_only == ""
        assert copy.names == ["photo", "far"]
        copy.write_scribbles("photo", np.zeros((6, 8), np.uint8))
        assert copy.image_path("photo").is_relative_to(copy.path)
        assert [copy.check(name) for name in copy.names] == ["", ""]
        assert copy.image_path("far") == far
        assert copy.status("photo").entropy == pytest.approx(1)
    assert (copy.path / "models" / "first" / "best.safetensors").read_bytes() == b"network"
    assert not (copy.path / "models" / "first" / ".lock").exists()
    np.testing.assert_array_equal(project.read_scribbles("photo"), STROKES)
    project.write_scribbles("photo", STROKES)  # still open, still ours


def test_a_copy_goes_to_no_folder_that_holds_something(project: Project, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    for target, message in (
        (tmp_path / "taken", "is not empty"),
        (project.path / "copy", "in itself"),
        (project.path, "is a project already"),
    ):
        with pytest.raises(InputError, match=message):
            project.save_as(target)
    assert [path.name for path in (tmp_path / "taken").iterdir()] == ["file"]
    assert not (project.path / "copy").exists()


def test_a_project_that_only_reads_can_be_copied_and_then_written(project: Project, tmp_path: Path) -> None:
    with open_project(project.path) as second, second.save_as(tmp_path / "copy") as copy:
        assert second.read_only
        copy.write_scribbles("photo", STROKES)


def test_an_image_that_is_gone_is_gone_in_the_copy_too(project: Project, tmp_path: Path) -> None:
    project.image_path("photo").unlink()
    with project.save_as(tmp_path / "copy") as copy:
        assert "is gone" in copy.check("photo")
        np.testing.assert_array_equal(copy.read_scribbles("photo"), STROKES)


def test_a_snapshot_keeps_the_strokes_of_its_moment(project: Project) -> None:
    path = project.snapshot(project.path / "snapshots" / "first")
    project.write_scribbles("photo", np.zeros((6, 8), np.uint8))
    with open_project(path, read_only=True) as snapshot:
        assert snapshot.manifest.classes == project.manifest.classes
        np.testing.assert_array_equal(snapshot.read_scribbles("photo"), STROKES)
        np.testing.assert_array_equal(snapshot.read_image("photo"), PHOTO)
        assert snapshot.image_path("photo") == project.image_path("photo").resolve()
    assert sorted(file.name for file in path.rglob("*.*")) == ["photo.png", "project.json"]
    with pytest.raises(InputError, match="is a project already"):
        project.snapshot(path)


def test_a_project_that_is_gone_is_not_copied(project: Project, tmp_path: Path) -> None:
    project.path.rename(tmp_path / "moved")
    for copy in (project.save_as, project.snapshot):
        with pytest.raises(InputError, match="is gone: it was deleted or moved"):
            copy(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
