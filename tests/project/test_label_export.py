"""Labels go out as files that other programs, and our own command line, understand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from napari_softseg.errors import InputError
from napari_softseg.files import read_unary
from napari_softseg.pixel_size import PixelSize
from napari_softseg.project import Project, ProjectClass, export_labels, import_labels, open_project
from napari_softseg.saving import read_class_names
from tests.project.conftest import CLASSES, PHOTO

SOFT = np.random.default_rng(1).dirichlet([1, 1], (6, 8)).transpose(2, 0, 1).astype(np.float32)
LABELS = np.where(SOFT[0] >= SOFT[1], 1, 4)


@pytest.fixture
def solved(project: Project) -> Project:
    project.add_image(PHOTO, name="bare")
    project.write_soft_labels("photo", SOFT)
    return project


def _mask(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.array(picture)


def test_all_kinds(solved: Project, tmp_path: Path) -> None:
    seen: list[tuple[int | str, ...]] = []

    def progress(*where: int | str) -> bool:
        seen.append(where)
        return True

    done = export_labels(solved, tmp_path / "out", {"labels", "soft", "masks"}, progress)
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in done.files)
    assert done.left_out == ("bare",)
    assert seen == [(0, 2, "photo"), (1, 2, "bare")]
    np.testing.assert_array_equal(import_labels(out / "photo_labels.png")[0], LABELS)
    np.testing.assert_array_equal(read_unary(out / "photo_soft.tif"), SOFT)
    assert read_class_names(out / "photo_soft.tif") == {1: "sky", 4: "tree"}
    np.testing.assert_array_equal(_mask(out / "photo_mask_4_tree.png"), np.where(LABELS == 4, 255, 0))
    np.testing.assert_array_equal(_mask(out / "photo_mask_1_sky.png"), np.where(LABELS == 1, 255, 0))
    assert (out / "classes.txt").read_text() == "1=sky\n4=tree\n"


@pytest.mark.parametrize(
    ("size", "unit", "resolution"),
    [
        (PixelSize(0.5, 0.25, "micrometer"), tifffile.RESUNIT.CENTIMETER, (40_000, 20_000)),
        (PixelSize(2, 4), tifffile.RESUNIT.NONE, (0.25, 0.5)),
    ],
)
def test_the_pixel_size_of_an_image_is_kept(
    project: Project, tmp_path: Path, size: PixelSize, unit: tifffile.RESUNIT, resolution: tuple[float, float]
) -> None:
    project.add_image(PHOTO, name="scaled", pixel_size=size)
    project.write_soft_labels("scaled", SOFT)
    folder = project.path
    project.close()
    with open_project(folder) as opened:
        assert opened.manifest.image("scaled").pixel_size == size
        assert opened.manifest.image("photo").pixel_size is None
        export_labels(opened, tmp_path / "out", {"soft"})
    for path in (folder / "soft_labels/scaled.tif", tmp_path / "out/scaled_soft.tif"):
        with tifffile.TiffFile(path) as tif:
            tags = tif.pages.first.tags
            assert tags["ResolutionUnit"].value == unit
            told = [tags[name].value for name in ("XResolution", "YResolution")]
            assert [above / below for above, below in told] == pytest.approx(resolution)
        assert read_class_names(path) == {1: "sky", 4: "tree"}


def test_a_pixel_without_size_is_damage(project: Project) -> None:
    with pytest.raises(InputError, match="height and width of a pixel"):
        PixelSize(0, 1)
    folder = project.path
    project.close()
    text = (folder / "project.json").read_text()
    (folder / "project.json").write_text(text.replace('"size":', '"pixel_size": [1, -2],\n"size":', 1))
    with pytest.raises(InputError, match=r"project\.json is damaged: Expected the height and width"):
        open_project(folder)


def test_names_of_classes_make_no_folders(solved: Project, tmp_path: Path) -> None:
    solved.change(classes=[ProjectClass(1, "../a b/c", (0, 0, 0)), CLASSES[1]])
    export_labels(solved, tmp_path / "out", {"masks"})
    assert (tmp_path / "out" / "photo_mask_1_.._a_b_c.png").is_file()


def test_cancelled(solved: Project, tmp_path: Path) -> None:
    done = export_labels(solved, tmp_path, {"labels"}, lambda *_: False)
    assert done.files == (tmp_path / "classes.txt",)


def test_a_project_that_only_reads_is_exported(solved: Project, tmp_path: Path) -> None:
    with open_project(solved.path, read_only=True) as opened:
        assert len(export_labels(opened, tmp_path / "out").files) == 2


def test_a_place_that_cannot_be_written_is_told(solved: Project, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Cannot write"):
        export_labels(solved, tmp_path / "file" / "out")
    with pytest.raises(InputError, match="Expected kinds out of labels, soft, masks, but got 'mask'"):
        export_labels(solved, tmp_path / "out", {"mask"})  # type: ignore[arg-type]
