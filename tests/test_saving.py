"""Soft labels carry their names; writing is whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_softseg.errors import InputError
from napari_softseg.files import read_image
from napari_softseg.saving import (
    check_outputs,
    made_folder,
    read_class_names,
    replacing,
    write_png,
    write_soft_tiff,
)

GREY = np.random.default_rng(0).integers(0, 255, (40, 56), dtype=np.uint8)


def test_soft_labels_carry_names_and_values(tmp_path: Path) -> None:
    path = tmp_path / "soft.tif"
    probabilities = np.random.default_rng(0).random((3, 30, 40), dtype=np.float32)
    write_soft_tiff(path, probabilities, {0: "sky", 7: "Bäume", 255: "x"}, {"energy": 1.5})
    with tifffile.TiffFile(path) as tif:
        assert tif.series[0].axes == "CYX"
        assert tif.asarray().dtype == np.float32
        np.testing.assert_array_equal(tif.asarray(), probabilities)
        metadata: Any = tif.shaped_metadata
        assert metadata[0]["energy"] == 1.5
    assert read_class_names(path) == {0: "sky", 7: "Bäume", 255: "x"}
    tifffile.imwrite(path, probabilities, photometric="minisblack")
    with pytest.raises(InputError, match="holds no class names"):
        read_class_names(path)


def test_files_are_replaced_together_or_not_at_all(tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    first.write_text("old")
    with pytest.raises(FileNotFoundError, match=r"b\.png"), replacing(first, second) as (temporary, _):
        write_png(temporary, GREY)  # and no second file
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert first.read_text() == "old"
    with pytest.raises(OSError, match=r"a\.png"), replacing(first, second):
        raise OSError(28, "No space left on device")  # as a write says it, without a name
    with replacing(first, second) as temporaries:
        for temporary in temporaries:
            write_png(temporary, GREY)
            assert temporary.parent == tmp_path
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]
    np.testing.assert_array_equal(read_image(first), GREY)


def write_half(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "gone").read_text()


def test_a_folder_made_for_nothing_goes_again(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    for fails in ("before", "before/a", "b/c"):
        with pytest.raises(FileNotFoundError), made_folder(tmp_path / fails):
            (tmp_path / fails / "gone").read_text()
    assert [p.name for p in tmp_path.rglob("*")] == ["before"]
    with pytest.raises(FileNotFoundError), made_folder(tmp_path / "d" / "e"):
        write_half(tmp_path / "d")
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["file"]
    with made_folder(tmp_path / "kept"):
        pass
    assert (tmp_path / "kept").is_dir()


def test_outputs_are_checked_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    given = tmp_path / "given.png"
    given.touch()
    check_outputs([tmp_path / "new.png", tmp_path / "file"], [given])
    for output, words in {
        tmp_path / "gone" / "a.png": "there is no folder",
        tmp_path / "file" / "a.png": "file is a file",
        tmp_path / "folder": "it is a folder",
        tmp_path / "folder" / ".." / "given.png": "one of the inputs",
    }.items():
        with pytest.raises(InputError, match=words):
            check_outputs([output], [given])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder", "given.png"]
