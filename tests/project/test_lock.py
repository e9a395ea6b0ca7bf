"""One writes, the others read and are told why."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from napari_softseg.errors import InputError
from napari_softseg.project import Project, open_project
from tests.project.conftest import STROKES

HOLDER = """
import sys
from napari_softseg.project import open_project
project = open_project(sys.argv[1])
print(repr(project.read_only), flush=True)
sys.stdin.read()
"""


def _holder(project: Project) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, project.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_second_opening_only_reads_and_says_why(project: Project) -> None:
    with open_project(project.path) as second:
        assert second.read_only == "it is open in another window (of this program)"
        np.testing.assert_array_equal(second.read_scribbles("photo"), STROKES)
        with pytest.raises(InputError, match=r"Nothing can be written .*: it is open in another window"):
            second.write_scribbles("photo", STROKES)
    project.write_scribbles("photo", STROKES)


def test_another_process_holds_the_project_until_it_dies(project: Project) -> None:
    project.close()
    holder = _holder(project)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "''\n"
    second = open_project(project.path)
    assert second.read_only == f"it is open in another window (process {holder.pid})"
    holder.kill()
    holder.communicate()
    with open_project(project.path) as third:
        assert third.read_only == ""
        third.write_scribbles("photo", STROKES)


def test_closing_lets_the_next_one_write(project: Project) -> None:
    project.close()
    project.close()
    with pytest.raises(InputError, match="it was closed"):
        project.write_scribbles("photo", STROKES)
    np.testing.assert_array_equal(project.read_scribbles("photo"), STROKES)
    with open_project(project.path) as second:
        assert second.read_only == ""
        second.write_scribbles("photo", STROKES)


def test_a_project_that_does_not_open_is_not_held(project: Project) -> None:
    project.close()
    manifest = project.path / "project.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(b"{")
    with pytest.raises(InputError, match="damaged"):
        open_project(project.path)
    manifest.write_bytes(whole)
    with open_project(project.path) as opened:
        assert opened.read_only == ""


def test_a_reader_takes_no_lock_and_leaves_no_file(project: Project) -> None:
    project.close()
    before = sorted(project.path.rglob("*"))
    with open_project(project.path, read_only=True), open_project(project.path) as writer:
        assert writer.read_only == ""
    assert sorted(project.path.rglob("*")) == before


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="needs a user who may not write everywhere"
)
def test_a_folder_without_permission_is_only_read(project: Project) -> None:
    project.close()
    project.path.chmod(0o555)
    try:
        with open_project(project.path) as opened:
            assert opened.read_only == "there is no permission to write in it"
            np.testing.assert_array_equal(opened.read_scribbles("photo"), STROKES)
    finally:
        project.path.chmod(0o755)
