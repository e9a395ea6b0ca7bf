"""Kills, full disks, folders that go away: a project opens afterwards, and nothing painted is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_softseg.errors import InputError
from napari_softseg.project import Project, open_project
from tests.project.conftest import CLASSES, PHOTO, STROKES

CHANGES = """
import itertools, sys
import numpy as np
from napari_softseg.project import open_project
project = open_project(sys.argv[1])
assert not project.read_only
strokes = {name: project.read_scribbles(name) for name in project.names}
print("ready", flush=True)
for i in itertools.count():
    removed = project.remove_class(4)
    project.restore_class(removed)
    gone = project.remove_image("b")
    project.restore_image(gone)
    project.write_soft_labels("c", np.full((2, 6, 8), 0.5, np.float32))
    project.snapshot(project.path / "snapshots" / str(i))
"""


@pytest.mark.parametrize("delay", [0.005, 0.03, 0.05, 0.08, 0.11])
def test_a_kill_amid_any_change_leaves_a_project_that_opens(project: Project, delay: float) -> None:
    for name in "abc":
        project.add_image(PHOTO, name=name, scribbles=STROKES)
    project.close()
    writer = subprocess.Popen([sys.executable, "-c", CHANGES, project.path], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    with pytest.raises(subprocess.TimeoutExpired):
        writer.wait(delay)
    writer.kill()
    writer.communicate()
    with open_project(project.path) as opened:
        assert not opened.read_only
        assert not list(opened.path.glob("*/.*.tmp")) + list(opened.path.glob(".*.tmp"))
        assert set(opened.names) in ({"photo", *"abc"}, {"photo", "a", "c"})
        for name in opened.names:
            strokes = opened.read_scribbles(name)  # no stroke is without its class
            assert (strokes[STROKES != 4] == STROKES[STROKES != 4]).all()
            assert opened.status(name).problem == ""
            opened.write_scribbles(
                name, STROKES if 4 in [one.value for one in opened.manifest.classes] else strokes
            )
        for snapshot in (opened.path / "snapshots").glob("*"):
            if (snapshot / "project.json").exists():  # one that was finished is whole
                with open_project(snapshot, read_only=True) as read:
                    for name in read.names:
                        np.testing.assert_array_equal(read.read_scribbles(name), STROKES)


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk takes a Linux administrator")
    return folder


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(512))


def test_a_full_disk_changes_nothing(project: Project, small_disk: Path) -> None:
    try:
        with project.save_as(small_disk / "p") as copy:
            filler = small_disk / "filler"
            with pytest.raises(OSError, match="No space left"):
                _fill(filler)
            noise = np.random.default_rng(0).choice(np.array([0, 1, 4], np.uint8), (6, 8))
            before = {path: path.read_bytes() for path in copy.path.rglob("*") if path.is_file()}
            manifest = copy.manifest
            for attempt in (
                lambda: copy.write_scribbles("photo", noise),
                lambda: copy.write_soft_labels("photo", np.full((2, 6, 8), 0.5, np.float32)),
                lambda: copy.change(settings={"long": "x" * 5000}),
                lambda: copy.remove_class(4),
                lambda: copy.add_image(PHOTO, name="new", scribbles=STROKES),
                lambda: copy.snapshot(copy.path / "snapshots" / "s"),
                lambda: copy.save_as(small_disk / "q"),
            ):
                with pytest.raises(InputError, match=r"Cannot write .*No space left on device"):
                    attempt()
            assert copy.manifest == manifest
            assert {path: path.read_bytes() for path in copy.path.rglob("*") if path.is_file()} == before
            assert not (small_disk / "q").exists()
            assert not (copy.path / "snapshots" / "s").exists()
            filler.unlink()
            copy.write_scribbles("photo", noise)  # and with room again it goes on
            np.testing.assert_array_equal(copy.read_scribbles("photo"), noise)
    finally:
        subprocess.run(["umount", small_disk], check=True)


def test_a_deleted_folder_is_told_and_not_made_again(project: Project) -> None:
    kept = project.path.with_name("kept")
    shutil.copytree(project.path, kept)
    shutil.rmtree(project.path)
    for attempt in (
        lambda: project.write_scribbles("photo", STROKES),
        lambda: project.change(settings={}),
        lambda: project.remove_class(4),
        lambda: project.remove_image("photo"),
        lambda: project.add_image(PHOTO, name="new"),
    ):
        with pytest.raises(InputError, match=r"is gone: it was deleted or moved, or its disk is away"):
            attempt()
    assert not project.path.exists()
    assert "is gone" in project.status("photo").problem
    kept.rename(project.path)  # put back, it is the same project
    project.write_scribbles("photo", STROKES)


def test_what_another_program_wrote_is_not_overwritten(project: Project) -> None:
    manifest = project.path / "project.json"
    data = json.loads(manifest.read_text())
    data["settings"] = {"by": "hand"}
    manifest.write_text(json.dumps(data))
    with pytest.raises(
        InputError, match=r"another program changed its project\.json; close the project and open"
    ):
        project.write_scribbles("photo", STROKES)
    assert json.loads(manifest.read_text())["settings"] == {"by": "hand"}


def test_a_manifest_touched_without_a_change_is_no_reason_to_stop(project: Project) -> None:
    os.utime(project.path / "project.json", ns=(1, 1))
    project.write_scribbles("photo", STROKES)


def test_folders_inside_that_went_away_are_made_again(project: Project) -> None:
    shutil.rmtree(project.path / "scribbles")
    assert project.status("photo").labelled == 0
    project.write_scribbles("photo", STROKES)
    np.testing.assert_array_equal(project.read_scribbles("photo"), STROKES)


def test_threads_write_at_once(project: Project) -> None:
    """Autosave, the class table and a removal meet."""
    import concurrent.futures as futures

    for i in range(6):
        project.add_image(PHOTO, name=f"i{i}")

    def work(i: int) -> None:
        for j in range(5):
            project.write_scribbles(f"i{i}", np.full((6, 8), (1, 4)[j % 2], np.uint8))
            project.change(settings={"i": i, "j": j})
            project.status(f"i{i}")
        project.remove_image(f"i{i}")

    with futures.ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(work, i) for i in range(6)]:
            done.result()
    assert project.names == ["photo"]
    with open_project(project.path, read_only=True) as opened:
        assert opened.manifest == project.manifest
        assert opened.manifest.classes == CLASSES
