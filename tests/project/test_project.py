"""A project keeps what was put in, refuses what does not fit, and survives what happens to it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from napari_softseg.errors import InputError
from napari_softseg.files import read_scribbles, read_unary
from napari_softseg.project import Project, ProjectClass, create_project, open_project
from napari_softseg.project.lock import OWNER
from napari_softseg.saving import read_class_names
from tests.project.conftest import CLASSES, PHOTO, STROKES

RNG = np.random.default_rng(0)


def test_what_was_put_in_comes_out(project: Project) -> None:
    opened = open_project(project.path)
    assert opened.manifest == project.manifest
    assert opened.manifest.classes == CLASSES
    assert opened.manifest.settings == {"eta": 0.3}
    assert opened.names == ["photo"]
    np.testing.assert_array_equal(opened.read_image("photo"), PHOTO)
    np.testing.assert_array_equal(opened.read_scribbles("photo"), STROKES)


def test_scribbles_are_an_index_png_in_the_colours_of_the_classes(project: Project) -> None:
    path = project.scribbles_path("photo")
    assert path == project.path / "scribbles" / "photo.png"
    with Image.open(path) as picture:
        assert picture.mode == "P"
        assert picture.convert("RGB").getpixel((2, 1)) == (1, 2, 3)
        assert picture.convert("RGB").getpixel((2, 4)) == (40, 50, 60)
    np.testing.assert_array_equal(read_scribbles(path), STROKES)


def test_an_image_without_strokes_is_all_unlabelled(project: Project) -> None:
    project.add_image(PHOTO[..., 0], name="grey")
    assert project.scribbles_path("grey") is None
    assert (project.read_scribbles("grey") == 0).all()


@pytest.mark.parametrize(
    "pixels",
    [
        PHOTO,
        PHOTO[..., 0],
        PHOTO.astype(np.uint16) * 200,
        RNG.random((6, 8), dtype=np.float32),
        RNG.integers(0, 9, (40, 50, 5)).astype(np.uint16),
    ],
    ids=["rgb", "grey", "16 bit", "float", "5 channels"],
)
def test_pixels_of_a_layer_come_back_unchanged(project: Project, pixels: npt.NDArray[Any]) -> None:
    project.add_image(pixels, name="layer")
    read = open_project(project.path).read_image("layer")
    assert read.dtype == pixels.dtype
    np.testing.assert_array_equal(read, pixels)


def test_a_reference_is_read_where_it_lies(project: Project, tmp_path: Path) -> None:
    far = tmp_path / "far.png"
    Image.fromarray(PHOTO[..., ::-1]).save(far)
    project.add_image(far, copy=False)
    opened = open_project(project.path)
    assert opened.image_path("far") == far.resolve()
    np.testing.assert_array_equal(opened.read_image("far"), PHOTO[..., ::-1])
    assert sorted(path.name for path in (project.path / "images").iterdir()) == ["photo.png"]
    far.unlink()
    with pytest.raises(InputError, match=r"'far' is gone: there is no .*far\.png"):
        opened.read_image("far")


def test_soft_labels_keep_the_classes(project: Project) -> None:
    soft = RNG.random((2, 6, 8), dtype=np.float32)
    path = project.write_soft_labels("photo", soft)
    np.testing.assert_array_equal(read_unary(path), soft)
    assert read_class_names(path) == {1: "sky", 4: "tree"}
    with pytest.raises(InputError, match=r"shape \(K, H, W\) = \(2, 6, 8\)"):
        project.write_soft_labels("photo", soft[:1])


def test_an_image_that_changed_its_size_is_not_read(project: Project) -> None:
    Image.fromarray(PHOTO[:5]).save(project.path / "images" / "photo.png")
    with pytest.raises(InputError, match=r"has 5 x 8 pixels, but had 6 x 8 when it was added"):
        project.read_image("photo")


def test_strokes_from_a_tiff_are_read_and_then_superseded(project: Project) -> None:
    folder = project.path / "scribbles"
    (folder / "photo.png").unlink()
    tifffile.imwrite(folder / "photo.tif", STROKES[::-1])
    np.testing.assert_array_equal(project.read_scribbles("photo"), STROKES[::-1])
    project.write_scribbles("photo", STROKES)
    assert [path.name for path in folder.iterdir()] == ["photo.png"]
    np.testing.assert_array_equal(project.read_scribbles("photo"), STROKES)


@pytest.mark.parametrize(
    ("strokes", "message"),
    [
        (STROKES[:5], r"size 6 x 8 for the image 'photo', but got 5 x 8"),
        (STROKES + np.uint8(1), r"hold 2, which is not among the classes 1, 4"),
        (STROKES.astype(np.int64) * 100, r"hold 100, which is not"),
        (STROKES / 2, r"whole numbers, but got dtype float64"),
    ],
)
def test_strokes_that_do_not_fit_change_nothing(
    project: Project, strokes: npt.NDArray[Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        project.write_scribbles("photo", strokes)
    np.testing.assert_array_equal(project.read_scribbles("photo"), STROKES)


@pytest.mark.parametrize(
    "name", ["", "../out", "a/b", "a\\b", ".hidden", "c:", "nul\0", "dot.", " space", "a\nb"]
)
def test_a_name_that_is_no_file_name_is_refused(project: Project, name: str) -> None:
    with pytest.raises(InputError, match="cannot name an image"):
        project.add_image(PHOTO, name=name)
    assert project.names == ["photo"]


@pytest.mark.parametrize("name", ["photo", "Photo"])
def test_a_name_is_taken_once(project: Project, photo: Path, name: str) -> None:
    with pytest.raises(InputError, match="image name 'photo' is there twice"):
        project.add_image(photo, name=name)


def test_an_image_that_the_project_does_not_know_is_never_overwritten(project: Project) -> None:
    stranger = project.path / "images" / "other.png"
    stranger.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"other\.png is there already"):
        project.add_image(PHOTO, name="other")
    assert stranger.read_bytes() == b"mine"
    assert sorted(path.name for path in stranger.parent.iterdir()) == ["other.png", "photo.png"]


def test_an_image_left_unlisted_by_a_killed_program_can_be_added_again(project: Project) -> None:
    Image.fromarray(PHOTO).save(project.path / "images" / "other.png")
    project.add_image(project.path / "images" / "other.png", scribbles=STROKES)
    assert open_project(project.path).names == ["photo", "other"]


def _edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def edit(path: Path) -> None:
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))

    return edit


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            _edited(lambda d: d.update(version=2)),
            r"newer napari-softseg: format version 2, .* knows 1; update",
        ),
        (_edited(lambda d: d.update(version="1")), r"damaged: its version is '1'"),
        (_edited(lambda d: d.pop("format")), r"is no napari-softseg project"),
        (_edited(lambda d: d.pop("classes")), r"damaged: KeyError 'classes'"),
        (_edited(lambda d: d.update(classes=3)), r"damaged: TypeError"),
        (_edited(lambda d: d["classes"][0].update(value=300)), r"from 0 to 255, but got 300"),
        (
            _edited(lambda d: d["classes"][0].update(value=4)),
            r"different, ascending values, but got \[4, 4\]",
        ),
        (_edited(lambda d: d["classes"][0].update(value=True)), r"True is no whole number"),
        (_edited(lambda d: d["classes"][0].update(color=[1, 2, 999])), r"not within 0\.\.255"),
        (_edited(lambda d: d.update(unlabelled=4)), r"cannot be a class and mean unlabelled"),
        (_edited(lambda d: d["images"][0].update(name="../x")), r"cannot name an image"),
        (_edited(lambda d: d["images"][0].update(size=[6])), r"damaged: ValueError"),
        (_edited(lambda d: d["images"].append(d["images"][0])), r"'photo' is there twice"),
        (_edited(lambda d: d["images"][0].update(reference="/x")), r"either a file or a reference"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), r"damaged: it is no JSON text"),
        (lambda path: path.write_bytes(b"\xff\xfe"), r"damaged: it is no JSON text"),
        (lambda path: path.write_text("[]"), r"is no napari-softseg project"),
        (lambda path: path.write_text("[" * 100_000), r"damaged: it is no JSON text"),
        (lambda path: path.unlink(), r"has no project\.json"),
    ],
)
def test_a_damaged_project_is_refused_in_one_line(
    project: Project, damage: Callable[[Path], object], message: str
) -> None:
    project.close()
    damage(project.path / "project.json")
    with pytest.raises(InputError, match=message) as caught:
        open_project(project.path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "path",
    ["../secret.png", "images/../../secret.png", "/etc/hostname", "C:\\secret.png", "..\\secret.png", "a\0b"],
)
def test_a_path_that_leaves_the_project_is_refused(project: Project, path: str) -> None:
    _edited(lambda d: d["images"][0].update(file=path))(project.path / "project.json")
    with pytest.raises(InputError, match="leaves the project folder"):
        open_project(project.path)


def test_a_link_that_leaves_the_project_is_refused(project: Project, tmp_path: Path) -> None:
    Image.fromarray(PHOTO).save(tmp_path / "secret.png")
    image = project.path / "images" / "photo.png"
    image.unlink()
    image.symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match="leaves the project folder"):
        open_project(project.path)


@pytest.mark.parametrize("folder", ["images", "scribbles", "soft_labels", "models"])
def test_a_linked_folder_that_leaves_the_project_is_refused(
    project: Project, tmp_path: Path, folder: str
) -> None:
    (project.path / folder).rename(tmp_path / "elsewhere")
    (project.path / folder).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(InputError, match="leaves the project folder"):
        open_project(project.path)


def test_strokes_linked_outside_are_neither_read_nor_written(project: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    strokes = project.path / "scribbles" / "photo.png"
    strokes.rename(outside)
    strokes.symlink_to(outside)
    before = outside.read_bytes()
    for attempt in (
        lambda: project.read_scribbles("photo"),
        lambda: project.write_scribbles("photo", STROKES),
    ):
        with pytest.raises(InputError, match="leaves the project folder"):
            attempt()
    assert outside.read_bytes() == before


def test_a_project_reached_by_a_link_works(project: Project, tmp_path: Path) -> None:
    (tmp_path / "shortcut").symlink_to(project.path, target_is_directory=True)
    project.close()
    opened = open_project(tmp_path / "shortcut")
    opened.write_scribbles("photo", STROKES)
    np.testing.assert_array_equal(opened.read_image("photo"), PHOTO)


def test_a_relative_reference_is_refused(project: Project) -> None:
    def refer(data: dict[str, Any]) -> None:
        data["images"][0].pop("file")
        data["images"][0]["reference"] = "photo.png"

    _edited(refer)(project.path / "project.json")
    with pytest.raises(InputError, match="needs an absolute path"):
        open_project(project.path)


def test_reading_alone_writes_nothing(project: Project) -> None:
    opened = open_project(project.path, read_only=True)
    before = {path: path.stat().st_mtime_ns for path in project.path.rglob("*")}
    for attempt in (
        lambda: opened.write_scribbles("photo", STROKES),
        lambda: opened.add_image(PHOTO, name="new"),
        lambda: opened.change(settings={}),
        lambda: opened.write_soft_labels("photo", np.zeros((2, 6, 8), np.float32)),
    ):
        with pytest.raises(InputError, match=r"Nothing can be written .*: it was opened for reading"):
            attempt()
    assert {path: path.stat().st_mtime_ns for path in project.path.rglob("*")} == before


def test_a_folder_with_something_in_it_is_not_taken(project: Project, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a project already; open it"):
        create_project(project.path, CLASSES)
    with pytest.raises(InputError, match="is not empty"):
        create_project(tmp_path, CLASSES)


def test_classes_and_settings_change(project: Project) -> None:
    project.change(classes=[*CLASSES, ProjectClass(9, "car", (0, 0, 0))], settings={"eta": 1})
    opened = open_project(project.path)
    assert [one.value for one in opened.manifest.classes] == [1, 4, 9]
    assert opened.manifest.settings == {"eta": 1}


KILLED = """
import sys
import numpy as np
from napari_softseg.project import open_project
project = open_project(sys.argv[1])
for i in range(100_000):
    project.write_scribbles("photo", np.full((6, 8), (1, 4)[i % 2], np.uint8))
    project.change(settings={"round": i, "padding": "x" * 10_000})
    if i == 0:
        print("ready", flush=True)
"""


@pytest.mark.parametrize("delay", [0.01, 0.06])
def test_a_kill_at_any_moment_leaves_a_project_that_opens(project: Project, delay: float) -> None:
    project.close()
    writer = subprocess.Popen([sys.executable, "-c", KILLED, project.path], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"ready\n"
    with pytest.raises(subprocess.TimeoutExpired):
        writer.wait(delay)
    writer.kill()
    writer.communicate()
    opened = open_project(project.path)
    strokes = opened.read_scribbles("photo")
    assert (strokes == strokes[0, 0]).all()
    assert strokes[0, 0] in (1, 4)
    opened.write_scribbles("photo", STROKES)
    np.testing.assert_array_equal(opened.read_scribbles("photo"), STROKES)


FULL = """
import resource, sys
import numpy as np
from napari_softseg.errors import InputError
from napari_softseg.project import open_project
project = open_project(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
for attempt in (
    lambda: project.write_scribbles("photo", np.full((6, 8), 1)),
    lambda: project.change(settings={}),
    lambda: project.add_image(np.zeros((9, 9, 3), np.uint8), name="new"),
):
    try:
        attempt()
    except InputError as error:
        assert "File too large" in str(error), error
    else:
        raise AssertionError("written")
for module in ("torch", "qtpy", "napari", "magicgui"):
    assert module not in sys.modules, module
"""


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_a_disk_that_takes_no_more_loses_nothing(project: Project) -> None:
    """And a process that works on projects needs neither torch nor a window."""
    project.close()
    before = _contents(project.path)
    ran = subprocess.run(
        [sys.executable, "-c", FULL, project.path], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert _contents(project.path) == before


def _contents(folder: Path) -> dict[Path, bytes]:
    """Return all files but what says who had the project open."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != OWNER)
    return {path: path.read_bytes() for path in files}
