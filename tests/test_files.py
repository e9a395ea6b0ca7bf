"""Reading keeps what was stored, or refuses."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image

from napari_softseg.errors import InputError
from napari_softseg.files import read_image, read_scribbles, read_unary
from napari_softseg.saving import write_soft_tiff

RGB = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
GREY = RGB[..., 0]
FIVE = np.concatenate([RGB, RGB[..., :2]], axis=2)
LABELS = (GREY // 64).astype(np.uint8)

LOSSLESS: dict[str, tuple[npt.NDArray[Any], Callable[[Path], object]]] = {
    "rgb.png": (RGB, lambda p: Image.fromarray(RGB).save(p)),
    "grey.png": (GREY, lambda p: Image.fromarray(GREY).save(p)),
    "grey16.png": (GREY * np.uint16(250), lambda p: Image.fromarray(GREY * np.uint16(250)).save(p)),
    "rgb16.png": (RGB * np.uint16(250), lambda p: _bytes(p, imagecodecs.png_encode(RGB * np.uint16(250)))),
    "rgb.webp": (RGB, lambda p: Image.fromarray(RGB).save(p, lossless=True)),
    "rgb.bmp": (RGB, lambda p: Image.fromarray(RGB).save(p)),
    "rgb.npy": (RGB, lambda p: np.save(p, RGB)),
    "rgb.tif": (RGB, lambda p: tifffile.imwrite(p, RGB, photometric="rgb")),
    "rgb_lzw.tif": (RGB, lambda p: tifffile.imwrite(p, RGB, photometric="rgb", compression="lzw")),
    "rgb_tiles.tif": (RGB, lambda p: tifffile.imwrite(p, RGB, photometric="rgb", tile=(16, 16))),
    "float.tif": (GREY / np.float32(7), lambda p: tifffile.imwrite(p, GREY / np.float32(7))),
    "channels_first.tif": (FIVE, lambda p: _write_planes(p, "zlib")),
    "channels_first_lzw.tif": (FIVE, lambda p: _write_planes(p, "lzw")),
    "channels_first_raw.tif": (FIVE, lambda p: _write_planes(p, None)),
    "imagej.tif": (
        RGB,
        lambda p: tifffile.imwrite(p, _first(RGB), imagej=True, metadata={"axes": "CYX"}),
    ),
    "ome.tif": (RGB, lambda p: tifffile.imwrite(p, _first(RGB), ome=True, metadata={"axes": "CYX"})),
}


def _first(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(array, -1, 0))


def _bytes(path: Path, data: bytes | bytearray) -> None:
    path.write_bytes(data)


def _write_planes(path: Path, compression: str | None) -> None:
    tifffile.imwrite(path, _first(FIVE), photometric="minisblack", compression=compression)


@pytest.mark.parametrize("name", LOSSLESS)
def test_an_image_comes_back_as_it_was_stored(name: str, tmp_path: Path) -> None:
    expected, write = LOSSLESS[name]
    write(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == expected.dtype
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("name", [*LOSSLESS, "photo.jpg", "progressive.jpg"])
def test_a_cut_file_is_refused_or_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name in LOSSLESS:
        LOSSLESS[name][1](path)
    else:
        Image.fromarray(RGB).save(path, progressive=name.startswith("progressive"))
    data, whole = path.read_bytes(), read_image(path)
    refusals = []
    for length in [*range(1, len(data), len(data) // 60), *range(len(data) - 30, len(data))]:
        path.write_bytes(data[:length])
        try:
            image = read_image(path)
        except InputError as error:
            refusals.append(str(error))
        else:  # some formats end with bytes that hold no pixels
            np.testing.assert_array_equal(image, whole)
    assert len(refusals) >= 55
    assert all(name in text for text in refusals)


def test_a_file_is_known_by_its_content_not_its_name(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.png", RGB, photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)


def test_palette_colours_of_an_image_are_looked_up(tmp_path: Path) -> None:
    picture = Image.fromarray(LABELS, mode="P")
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png")[LABELS == 2], [[70, 80, 90]] * (LABELS == 2).sum()
    )


def test_alpha_is_dropped(tmp_path: Path) -> None:
    rgba = np.concatenate([RGB, GREY[..., None]], axis=2)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    _bytes(tmp_path / "b.png", imagecodecs.png_encode(rgba.astype(np.uint16)))
    Image.fromarray(rgba[..., 2:]).save(tmp_path / "c.png")
    for name in ("a.png", "a.tif", "b.png"):
        np.testing.assert_array_equal(read_image(tmp_path / name), RGB)
    np.testing.assert_array_equal(read_image(tmp_path / "c.png"), RGB[..., 2])


def test_one_bit_images_become_grey(tmp_path: Path) -> None:
    Image.fromarray(GREY > 99).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.uint8(255) * (GREY > 99))


def test_the_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    assert read_image(tmp_path / "a.png").shape == RGB.shape


def test_images_above_pillows_limit_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
def test_stacks_are_refused(axes: str, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", _first(FIVE), imagej=True, metadata={"axes": axes})
    with pytest.raises(InputError, match="one plane"):
        read_image(tmp_path / "a.tif")


def test_unclear_and_large_stacks_are_refused(tmp_path: Path) -> None:
    for shape in ((60, 80, 90), (5, 5, 5), (2, 3, 40, 50)):
        np.save(tmp_path / "a.npy", np.zeros(shape))
        with pytest.raises(InputError, match="one plane"):
            read_image(tmp_path / "a.npy")


def test_channels_first_arrays_are_turned(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", _first(FIVE))
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), FIVE)


def test_palette_scribbles_keep_their_indices(tmp_path: Path) -> None:
    picture = Image.fromarray(LABELS, mode="P")
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    picture.save(tmp_path / "a.png")
    tifffile.imwrite(
        tmp_path / "a.tif", LABELS, photometric="palette", colormap=np.full((3, 256), 7, np.uint16)
    )
    np.testing.assert_array_equal(read_scribbles(tmp_path / "a.png"), LABELS)
    np.testing.assert_array_equal(read_scribbles(tmp_path / "a.tif"), LABELS)


def test_scribbles_come_in_many_forms(tmp_path: Path) -> None:
    Image.fromarray(LABELS.astype(np.uint16)).save(tmp_path / "grey16.png")
    Image.fromarray(np.repeat(LABELS[..., None], 3, 2)).save(tmp_path / "equal_rgb.png")
    opaque = np.dstack([LABELS, LABELS, LABELS, np.full_like(LABELS, 255)])
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    np.save(tmp_path / "int64.npy", LABELS.astype(np.int64))
    np.save(tmp_path / "float.npy", LABELS.astype(float))
    tifffile.imwrite(tmp_path / "page.tif", LABELS[None])
    for name in ("grey16.png", "equal_rgb.png", "opaque.png", "int64.npy", "float.npy", "page.tif"):
        scribbles = read_scribbles(tmp_path / name)
        assert scribbles.dtype.kind in "iu"
        np.testing.assert_array_equal(scribbles, LABELS)


def test_colours_and_fractions_are_no_scribbles(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="3 colour channels; save the scribbles as an indexed"):
        read_scribbles(tmp_path / "a.png")
    for bad in (0.5, np.nan, np.inf):
        np.save(tmp_path / "a.npy", np.full((4, 4), bad))
        with pytest.raises(InputError, match="whole class values"):
            read_scribbles(tmp_path / "a.npy")


class Bomb:
    """Unpickling it would leave a trace."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("bomb_went_off"),)


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    Path("b.npy").write_bytes(pickle.dumps(Bomb()))
    for name in ("a.npy", "b.npy"):
        with pytest.raises(InputError, match="cannot be read"):
            read_image(name)
    assert not Path("bomb_went_off").exists()


def test_no_file_no_bytes_no_image_no_numbers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png does not exist"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(InputError, match="is empty"):
        read_image(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("no picture at all")
    with pytest.raises(InputError, match=r"text\.png cannot be read: damaged, or not PNG"):
        read_image(tmp_path / "text.png")
    np.save(tmp_path / "words.npy", np.array([["a", "b"]]))
    with pytest.raises(InputError, match="Expected numbers"):
        read_image(tmp_path / "words.npy")


def test_a_unary_is_three_dimensional_floats(tmp_path: Path) -> None:
    sigma = np.random.default_rng(0).random((2, 30, 40), dtype=np.float32)
    np.save(tmp_path / "a.npy", sigma)
    write_soft_tiff(tmp_path / "a.tif", sigma, {1: "a", 2: "b"})
    for name in ("a.npy", "a.tif"):
        np.testing.assert_array_equal(read_unary(tmp_path / name), sigma)
    np.save(tmp_path / "b.npy", sigma[0])
    np.save(tmp_path / "c.npy", sigma.astype(int))
    for name in ("b.npy", "c.npy"):
        with pytest.raises(InputError, match=r"Expected \(K, H, W\) floats"):
            read_unary(tmp_path / name)
