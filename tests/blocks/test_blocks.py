"""Solving by blocks gives what solving in one piece gives, whatever form the arrays come in."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import torch
import zarr

from napari_softseg import InputError, SolveProgress, Status, solve
from napari_softseg.blocks import Plane, open_image, open_scribbles, open_unary, solve_blocks
from napari_softseg.blocks.source import as_plane
from napari_softseg.blocks.survey import Inputs, iter_survey
from napari_softseg.blocks.tiling import bytes_per_pixel, memory_of
from napari_softseg.solver.intensity import to_intensity
from napari_softseg.solver.solution import drain
from tests.blocks.conftest import Files, Large, stored

ALL = slice(None)
BLOCKS: dict[str, Any] = {"block": 88, "halo": 96, "device": "cpu"}
FEW: dict[str, Any] = BLOCKS | {"block": 172}


def off(found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the largest difference of a probability at every pixel."""
    result: npt.NDArray[np.float32] = np.abs(found - wanted).max(axis=0)
    return result


@pytest.mark.parametrize(
    "options", [{}, {"neighborhood": "sn", "relaxation": "q", "max_sweeps": 10}, {"tolerance": 1e-4}]
)
def test_blocks_give_what_one_piece_gives(large: Large, tmp_path: Path, options: dict[str, Any]) -> None:
    whole = large.whole if not options else solve(large.image, large.scribbles, device="cpu", **options)
    found = solve_blocks(large.image, large.scribbles, tmp_path / "o.zarr", **BLOCKS, **options)
    assert (found.blocks, found.done, found.solved) == (16, 16, 16)
    assert found.classes == (2, 5, 9)
    probabilities = found.probabilities(ALL, ALL)
    difference = off(probabilities, whole.probabilities)
    assert difference.mean() < 0.01
    assert (difference > 0.1).mean() < 0.01
    assert (found.labels[:] != whole.labels).mean() < 0.005
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)
    for k, value in enumerate(found.classes):
        assert (probabilities[k][large.scribbles == value] == 1).all()


def test_pretrained_features_in_blocks(large: Large, tmp_path: Path, random_weights: str) -> None:
    """Blocks begin between the network's coarsest pixels as well: 88 and 96 are multiples of 8, 84 and 92 are not."""
    learned: dict[str, Any] = {"unary": "pretrained", "weights": random_weights, "device": "cpu"}
    whole = solve(large.image, large.scribbles, **learned)
    assert off(whole.probabilities, large.whole.probabilities).mean() > 0.01
    for block, halo in ((172, 96), (164, 92)):
        sizes = {"block": block, "halo": halo}
        found = solve_blocks(large.image, large.scribbles, tmp_path / f"{block}.zarr", **learned | sizes)
        difference = off(found.probabilities(ALL, ALL), whole.probabilities)
        assert difference.mean() < 0.01
        assert (found.labels[:] != whole.labels).mean() < 0.005


def test_a_wider_halo_comes_closer(large: Large, tmp_path: Path) -> None:
    means = []
    for halo in (0, 32, 128):
        out = tmp_path / f"{halo}.zarr"
        found = solve_blocks(large.image, large.scribbles, out, block=172, halo=halo, device="cpu")
        means.append(off(found.probabilities(ALL, ALL), large.whole.probabilities).mean())
    assert means[0] > 1.5 * max(means[1:])
    assert means[2] < 0.005


def test_the_classifier_is_fitted_on_the_strokes_of_the_whole_image(large: Large, tmp_path: Path) -> None:
    """Blocks without a stroke know all classes: with one unary for all, only the halo differs."""
    own = solve_blocks(large.image, large.scribbles, tmp_path / "own.zarr", **FEW)
    given = solve_blocks(large.image, large.scribbles, tmp_path / "same.zarr", unary=large.whole.unary, **FEW)
    difference = off(own.probabilities(ALL, ALL), given.probabilities(ALL, ALL))
    assert difference.mean() < 0.005


def as_memmap(array: npt.NDArray[Any], folder: Path) -> npt.NDArray[Any]:
    np.save(folder / "m.npy", array)
    mapped: npt.NDArray[Any] = np.load(folder / "m.npy", mmap_mode="r")
    return mapped


def locked(array: npt.NDArray[Any], _folder: Path) -> npt.NDArray[Any]:
    copy = array.copy()
    copy.setflags(write=False)
    return copy


FORMS: dict[str, Callable[[npt.NDArray[Any], Path], Any]] = {
    "dask": lambda a, _: da.from_array(a, chunks=(100, 130, 3)[: a.ndim]),  # type: ignore[no-untyped-call]
    "zarr": lambda a, folder: zarr.create_array(folder / "a.zarr", data=a, chunks=(64, 200, 1)[: a.ndim]),
    "memmap": as_memmap,
    "not contiguous": lambda a, _: np.repeat(np.asfortranarray(a), 2, axis=1)[:, ::2],
    "reversed": lambda a, _: a[::-1].copy()[::-1],
    "read-only": locked,
    "big-endian": lambda a, _: a.astype(a.dtype.newbyteorder(">")),
}


@pytest.mark.parametrize("form", FORMS)
def test_arrays_in_any_form(form: str, large: Large, tmp_path: Path) -> None:
    """uint16, so that the intensity rule looks at the whole image; solve() and blocks take all of them."""
    image = large.image[20:180:2, 60:260:2].astype(np.uint16) * 16 + 100
    scribbles = large.scribbles[20:180:2, 60:260:2].astype(np.uint16)
    other = FORMS[form]
    (tmp_path / "i").mkdir()
    (tmp_path / "s").mkdir()
    shaped, drawn = other(image, tmp_path / "i"), other(scribbles, tmp_path / "s")
    options: dict[str, Any] = {"device": "cpu", "max_sweeps": 3}
    plain = solve(image, scribbles, **options)
    np.testing.assert_array_equal(solve(shaped, drawn, **options).probabilities, plain.probabilities)
    sizes: dict[str, Any] = {"block": 60, "halo": 32}
    expected = solve_blocks(image, scribbles, tmp_path / "plain.zarr", **sizes, **options)
    found = solve_blocks(shaped, drawn, tmp_path / "form.zarr", **sizes, **options)
    np.testing.assert_array_equal(found.soft[:], expected.soft[:])
    assert off(found.probabilities(ALL, ALL), plain.probabilities).mean() < 0.03


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_intensities_by_the_rule_of_the_whole_image(dtype: Any, tmp_path: Path) -> None:
    """Faint noise on the left stays faint: a block that found its own percentiles would see edges in it."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 9, (100, 200)).astype(dtype)
    image[:, 100:] *= 1000
    scribbles = np.zeros(image.shape, np.uint8)
    scribbles[10:20, 10:20], scribbles[70:80, 150:160] = 1, 2
    options: dict[str, Any] = {"unary": rng.random((2, *image.shape)), "device": "cpu", "tolerance": 1e-4}
    whole = solve(image, scribbles, **options)
    found = solve_blocks(image, scribbles, tmp_path / "o.zarr", block=40, halo=24, **options)
    difference = off(found.probabilities(ALL, ALL), whole.probabilities)
    assert difference.mean() < 0.02
    survey = drain(iter_survey(Inputs(as_plane(image), as_plane(scribbles), None, 0), 1))
    np.testing.assert_array_equal(survey.rule.apply(image[50:90]), to_intensity(image)[50:90])


def test_mask_and_more_classes(large: Large, tmp_path: Path) -> None:
    mask = np.ones(large.scribbles.shape, bool)
    mask[:88, 88:176] = False  # a block of its own
    mask[280:320, 50:90] = False
    image = large.image.astype(np.float32)
    image[~mask] = np.nan
    options: dict[str, Any] = {"mask": mask, "classes": (2, 5, 7, 9), "device": "cpu"}
    whole = solve(image, large.scribbles, **options)
    found = solve_blocks(image, large.scribbles, tmp_path / "o.zarr", block=88, halo=96, **options)
    probabilities = found.probabilities(ALL, ALL)
    assert found.classes == (2, 5, 7, 9)
    assert off(probabilities, whole.probabilities).mean() < 0.01
    np.testing.assert_allclose(probabilities[:, ~mask], 0.25, atol=0.005)


def test_a_model_as_the_unary(large: Large, tmp_path: Path) -> None:
    seen = set()

    def model(pixels: npt.NDArray[Any], classes: tuple[int, ...]) -> npt.NDArray[np.float64]:
        seen.add((pixels.dtype, pixels.shape[2], classes))
        bright = pixels.mean(axis=2) / 255
        return np.stack([bright, 1 - bright, np.full(bright.shape, 0.2)])

    whole = solve(large.image, large.scribbles, unary=model, device="cpu")
    found = solve_blocks(large.image, large.scribbles, tmp_path / "o.zarr", unary=model, **FEW)
    assert seen == {(np.dtype(np.uint8), 3, (2, 5, 9))}
    assert off(found.probabilities(ALL, ALL), whole.probabilities).mean() < 0.01


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_out_of_memory_halves_the_block(error: type[Exception], large: Large, tmp_path: Path) -> None:
    """The unary, a network perhaps, says when its device is full."""

    def model(pixels: npt.NDArray[Any], _: Any) -> npt.NDArray[np.float64]:
        if pixels.shape[0] * pixels.shape[1] > 170 * 170:
            raise error("full")
        bright = pixels.mean(axis=2) / 255
        return np.stack([bright, 1 - bright, np.full(bright.shape, 0.2)])

    def roomy(pixels: npt.NDArray[Any], _: Any) -> npt.NDArray[np.float64]:
        bright = pixels.mean(axis=2) / 255
        return np.stack([bright, 1 - bright, np.full(bright.shape, 0.2)])

    sizes: dict[str, Any] = {"block": 172, "halo": 32, "device": "cpu"}
    tight = solve_blocks(large.image, large.scribbles, tmp_path / "o.zarr", unary=model, **sizes)
    loose = solve_blocks(large.image, large.scribbles, tmp_path / "l.zarr", unary=roomy, **sizes)
    assert tight.blocks == 4
    assert off(tight.probabilities(ALL, ALL), loose.probabilities(ALL, ALL)).mean() < 0.02


def test_out_of_memory_in_the_smallest_block_says_so(large: Large, tmp_path: Path) -> None:
    def model(_pixels: Any, _classes: Any) -> npt.NDArray[np.float64]:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(InputError, match=r"Out of memory on a block of 44 x 44.*smaller halo"):
        solve_blocks(large.image, large.scribbles, tmp_path / "o.zarr", unary=model, **BLOCKS)


def test_chunks_larger_than_memory_are_refused_before_any_is_read(tmp_path: Path) -> None:
    image = zarr.create_array(
        tmp_path / "i.zarr", shape=(40_000, 40_000), chunks=(40_000, 40_000), dtype="u1"
    )
    with pytest.raises(InputError, match=r"chunks of 1600 MB.*memory of 4\.0 GB.*smaller chunks"):
        solve_blocks(image, image, tmp_path / "o.zarr")


def test_volumes_are_refused(tmp_path: Path) -> None:
    volume = np.zeros((8, 20, 30), np.uint8)
    with pytest.raises(InputError, match=r"one plane, but the scribbles have shape \(8, 20, 30\).*one piece"):
        solve_blocks(volume, volume, tmp_path / "o.zarr")


def test_memory_chooses_the_block(large: Large, tmp_path: Path) -> None:
    """What is left above the program's own part, by the formula."""
    tight: dict[str, Any] = {"memory": 1.14e9, "halo": 32, "device": "cpu", "max_sweeps": 1}
    found = solve_blocks(large.image, large.scribbles, tmp_path / "o.zarr", **tight)
    pixel = bytes_per_pixel(3, 3, "grid4")
    assert memory_of(found.block, 32, 1, pixel) <= 1.14e9 < memory_of(found.block + 4, 32, 1, pixel)
    two = solve_blocks(large.image, large.scribbles, tmp_path / "2.zarr", workers=2, **tight)
    assert memory_of(two.block, 32, 2, pixel) <= 1.14e9
    assert two.block < found.block
    wide = np.zeros((20, 3000), np.uint8)
    wide[:9, :9], wide[9:, 9:] = 1, 2
    with pytest.raises(InputError, match=r"block of 2000 pixels.*takes 2\.. GB.*memory of 1\.1 GB"):
        solve_blocks(wide, wide, tmp_path / "3.zarr", block=2000, **tight)


def test_progress_counts_blocks_and_stop_keeps_them(large: Large, tmp_path: Path) -> None:
    reports: list[SolveProgress] = []
    stop = threading.Event()

    def show(progress: SolveProgress) -> None:
        reports.append(progress)
        if progress.stage == "solve" and progress.step == 3:
            stop.set()

    out = tmp_path / "o.zarr"
    first = solve_blocks(large.image, large.scribbles, out, stop=stop, progress=show, **BLOCKS)
    assert first.status is Status.STOPPED
    assert 3 <= first.done < 16
    assert [r.stage for r in reports if r.step == 0] == ["survey", "unary", "solve"]
    assert {r.max_steps for r in reports if r.stage == "solve"} == {16}
    reports.clear()
    second = solve_blocks(large.image, large.scribbles, out, progress=reports.append, **BLOCKS)
    assert (second.solved, second.done) == (16 - first.done, 16)
    assert [r.step for r in reports if r.stage == "solve"] == list(range(first.done, 17))
    assert off(second.probabilities(ALL, ALL), large.whole.probabilities).mean() < 0.01


def test_two_workers(large: Large, tmp_path: Path) -> None:
    one = solve_blocks(large.image, large.scribbles, tmp_path / "1.zarr", **BLOCKS)
    two = solve_blocks(large.image, large.scribbles, tmp_path / "2.zarr", workers=2, **BLOCKS)
    assert off(one.probabilities(ALL, ALL), two.probabilities(ALL, ALL)).max() < 0.02


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["yx", "cyx", "tczyx"])
def test_ome_zarr_finest_level(
    version: str, axes: str, large: Large, tmp_path: Path, make_ome: Callable[..., Path]
) -> None:
    grey = large.image[..., 0]
    stored = {"yx": grey, "cyx": np.moveaxis(large.image, -1, 0)}.get(axes, grey[None, None, None])
    scale = [1.0] * (len(axes) - 2) + [0.5, 0.25]
    plane = open_image(make_ome(tmp_path / "a.zarr", stored, axes, version, scale))
    expected = large.image if axes == "cyx" else grey if axes == "yx" else grey[..., None]
    assert plane.shape == expected.shape
    assert (plane.spacing, plane.unit) == ((0.5, 0.25), "micrometer")
    np.testing.assert_array_equal(plane.read(slice(3, 50), slice(7, 20)), expected[3:50, 7:20])


def test_files_that_open_lazily(large: Large, tmp_path: Path) -> None:
    tiled, plain, mapped = tmp_path / "tiled.tif", tmp_path / "plain.tif", tmp_path / "m.npy"
    tifffile.imwrite(tiled, large.image, tile=(64, 64), compression="zlib", photometric="rgb")
    tifffile.imwrite(plain, large.scribbles.astype(">u2"), byteorder=">", photometric="minisblack")
    with mapped.open("wb") as file:
        np.save(file, large.image)
    for path, opened, wanted in (
        (tiled, open_image, large.image),
        (mapped, open_image, large.image),
        (plain, open_scribbles, large.scribbles),
    ):
        plane = opened(path)
        assert not isinstance(plane.array, np.ndarray) or isinstance(plane.array, np.memmap)
        again: Plane = pickle.loads(pickle.dumps(plane))  # what a worker elsewhere gets
        for one in (plane, again):
            np.testing.assert_array_equal(one.read(slice(60, 130), slice(5, 99)), wanted[60:130, 5:99])
    assert len(pickle.dumps(open_image(mapped))) < 1000


def test_probabilities_from_a_file(large: Large, tmp_path: Path) -> None:
    unary = large.whole.unary
    assert unary is not None
    np.save(tmp_path / "u.npy", unary)
    zarr.create_array(tmp_path / "u.zarr", data=unary)
    found = [
        solve_blocks(large.image, large.scribbles, tmp_path / f"{n}.zarr", unary=given, **FEW).soft[:]
        for n, given in enumerate((unary, open_unary(tmp_path / "u.npy"), open_unary(tmp_path / "u.zarr")))
    ]
    np.testing.assert_array_equal(found[1], found[0])
    np.testing.assert_array_equal(found[2], found[0])


def test_the_result_is_valid_ome_zarr(files: Files, large: Large, make_ome: Callable[..., Path]) -> None:
    image = make_ome(files.folder / "ome.zarr", large.image[..., 0], "yx", "0.5", [0.5, 0.25])
    plane = open_image(image)
    names = {2: "hair", 5: "flag", 9: "suit"}
    found = solve_blocks(plane, large.scribbles, files.out, class_names=lambda _: names, **FEW)
    group = zarr.open_group(files.out, mode="r")
    ome: Any = group.attrs["ome"]
    assert [c["label"] for c in ome["omero"]["channels"]] == ["hair", "flag", "suit"]
    # our own reader of OME-Zarr finds both, with the pixel size of the image
    soft, labels = open_image(files.out), open_scribbles(files.out / "labels" / "classes")
    for one in (soft, labels):
        assert (one.spacing, one.unit) == ((0.5, 0.25), "micrometer")
    np.testing.assert_array_equal(labels.read(ALL, ALL), found.labels[:])
    assert soft.read(ALL, ALL).shape == (340, 302, 3)
    assert set(np.unique(found.labels[:])) <= set(names)
    # labels are those of the unrounded probabilities: they are among the largest rounded ones
    stored = found.soft[:]
    chosen = np.take_along_axis(stored, np.searchsorted([2, 5, 9], found.labels[:])[None], axis=0)[0]
    assert (stored.max(axis=0) == chosen).all()


def test_coarser_levels(large: Large, tmp_path: Path) -> None:
    """A wide strip: 1302 pixels need one level more than 1024."""
    image, scribbles = np.zeros((77, 1302), np.uint8), np.zeros((77, 1302), np.uint8)
    image[:, :302], scribbles[:, :302] = large.image[:77, :, 0], large.scribbles[:77]
    scribbles[40:50, 700:900] = 9
    found = solve_blocks(image, scribbles, tmp_path / "o.zarr", block=512, device="cpu", max_sweeps=2)
    for folder, fine in (("", found.soft[:]), ("labels/classes", found.labels[:])):
        group = zarr.open_group(tmp_path / "o.zarr" / folder, mode="r")
        ome: Any = group.attrs["ome"]
        levels = ome["multiscales"][0]["datasets"]
        assert [level["path"] for level in levels] == ["0", "1"]
        assert levels[1]["coordinateTransformations"][0]["scale"][-2:] == [2.0, 2.0]
        coarse = stored(tmp_path / "o.zarr" / folder, "1")
        assert coarse.shape == (*fine.shape[:-2], 39, 651)
        if folder:
            np.testing.assert_array_equal(coarse, fine[::2, ::2])
        else:
            means = fine[:, :76].reshape(len(fine), 38, 2, 651, 2).mean(axis=(2, 4))
            assert np.abs(coarse[:, :38] - means).max() <= 0.5
