"""solve(): what it returns, what it refuses, and what must not change the result."""

from __future__ import annotations

import dataclasses
import inspect
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from skimage import data
from skimage.segmentation import random_walker

from napari_softseg import InputError, Solution, SolveOptions, SolveProgress, Status, iter_solve, solve
from napari_softseg.options import DEFAULTS, Method, Relaxation
from napari_softseg.solver.intensity import to_intensity


@pytest.fixture(scope="module")
def photo() -> npt.NDArray[np.uint8]:
    """A corner of a real photo, (64, 72, 3)."""
    image: npt.NDArray[np.uint8] = data.astronaut()[60:124, 170:242]
    return image


@pytest.fixture(scope="module")
def strokes() -> npt.NDArray[np.uint8]:
    scribbles = np.zeros((64, 72), np.uint8)
    scribbles[30:34, 30:50] = 3
    scribbles[4:8, 4:16] = 7
    scribbles[50:60, 60:64] = 7
    return scribbles


def check(solution: Solution, scribbles: npt.NDArray[Any], unlabelled: int = 0) -> None:
    """What holds for every solution."""
    height, width = scribbles.shape
    assert solution.probabilities.shape == (len(solution.classes), height, width)
    assert solution.probabilities.dtype == np.float32
    np.testing.assert_allclose(solution.probabilities.sum(0), 1, atol=1e-5)
    assert solution.probabilities.min() >= 0
    for index, value in enumerate(solution.classes):
        # exact on the strokes: one-hot, not nearly
        on = scribbles == value
        assert (solution.probabilities[index][on] == 1).all()
        assert (np.delete(solution.probabilities, index, axis=0)[:, on] == 0).all()
    assert np.isfinite(solution.energy)
    assert solution.energy == solution.terms.unary + solution.terms.pairwise
    assert 0 <= solution.entropy.min() <= solution.entropy.max() <= 1
    assert set(np.unique(solution.labels)) <= set(solution.classes)


def test_signature_has_the_defaults_of_the_options() -> None:
    parameters = inspect.signature(solve).parameters
    for field in dataclasses.fields(SolveOptions):
        assert parameters[field.name].default == getattr(DEFAULTS, field.name), field.name
        assert parameters[field.name].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("relaxation", list(Relaxation))
@pytest.mark.parametrize("unary", ["classifier", "none"])
def test_every_relaxation_solves_a_photo(
    photo: npt.NDArray[np.uint8], strokes: npt.NDArray[np.uint8], relaxation: str, unary: str
) -> None:
    solution = solve(photo, strokes, relaxation=relaxation, unary=unary, device="cpu", max_sweeps=30)
    check(solution, strokes)
    assert solution.classes == (3, 7)
    assert solution.device == "cpu"
    assert solution.sweeps <= 30
    assert (solution.unary is None) == (unary == "none")


@pytest.mark.parametrize("method", list(Method))
def test_every_method(photo: npt.NDArray[np.uint8], strokes: npt.NDArray[np.uint8], method: str) -> None:
    check(solve(photo, strokes, method=method, relaxation="q", device="cpu"), strokes)


def test_closed_form_is_scikit_images_random_walker() -> None:
    """Same system, other code: Grady's weights exp(-beta d^2 / std) with beta chosen to match ours."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 30, (24, 30)).astype(np.uint8)
    scribbles = np.zeros((24, 30), np.uint8)
    scribbles[4, 4:9], scribbles[18, 20:26] = 1, 2
    ours = solve(
        image, scribbles, unary="none", method="closed-form", relaxation="q", bandwidth=9.0, device="cpu"
    )
    # theirs: w = exp(-beta/(10 std) d^2) + 1e-10, on float data without rescaling; ours exp(-3 d^2 / (2 s^2))
    grey = image.astype(float)
    beta = 10 * grey.std() * 3 / (2 * 9.0**2)
    theirs = random_walker(grey, scribbles, beta=beta, mode="bf", return_full_prob=True)
    np.testing.assert_allclose(ours.probabilities, theirs, atol=2e-3)


def test_closed_form_refuses_other_relaxations(
    photo: npt.NDArray[np.uint8], strokes: npt.NDArray[np.uint8]
) -> None:
    with pytest.raises(InputError, match="relaxation q only, but got cd"):
        solve(photo, strokes, method="closed-form")


def test_same_pixels_in_another_form_give_the_same_result(
    photo: npt.NDArray[np.uint8], strokes: npt.NDArray[np.uint8]
) -> None:
    plain = solve(photo, strokes, device="cpu").probabilities
    forms: dict[str, Any] = {
        "non-contiguous": np.asfortranarray(photo),
        "big-endian int": photo.astype(">u1"),
        "float 0..1": (photo / 255).astype(np.float64),
        "float32 0..1": (photo / 255).astype(np.float32),
    }
    locked = photo.copy()
    locked.setflags(write=False)
    forms["read-only"] = locked
    for name, image in forms.items():
        np.testing.assert_allclose(
            solve(image, strokes, device="cpu").probabilities, plain, atol=2e-2, err_msg=name
        )
    for dtype in (np.int64, np.uint16, ">i4", np.float64):
        other = solve(photo, strokes.astype(dtype), device="cpu").probabilities
        np.testing.assert_array_equal(other, plain)
    np.testing.assert_array_equal(
        solve(photo[::-1], strokes[::-1], device="cpu").probabilities.shape, plain.shape
    )


def test_what_masked_arrays_hide_takes_no_part(
    photo: npt.NDArray[np.uint8], strokes: npt.NDArray[np.uint8]
) -> None:
    hidden = np.zeros(strokes.shape, bool)
    hidden[:12] = True  # with a stroke of class 7 in it
    everywhere = np.repeat(hidden[..., np.newaxis], 3, axis=2)
    image = np.where(everywhere, np.nan, photo / 255)
    result = solve(np.ma.masked_array(image, everywhere), strokes, device="cpu")
    expected = solve(image, strokes, mask=~hidden, device="cpu")
    np.testing.assert_array_equal(result.probabilities, expected.probabilities)

    result = solve(photo, np.ma.masked_array(strokes, hidden), device="cpu")
    expected = solve(photo, np.where(hidden, 0, strokes), device="cpu")
    np.testing.assert_array_equal(result.probabilities, expected.probabilities)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float16, np.float32, bool])
@pytest.mark.parametrize("channels", [None, 1, 2, 5])
def test_dtypes_and_channels(dtype: Any, channels: int | None) -> None:
    rng = np.random.default_rng(0)
    shape = (20, 22) if channels is None else (20, 22, channels)
    image = (rng.random(shape) * (1 if dtype is bool else 200)).round().astype(dtype)
    scribbles = np.zeros((20, 22), np.uint8)
    scribbles[3, 3:9], scribbles[15, 10:16] = 1, 2
    check(solve(image, scribbles, device="cpu", max_sweeps=5), scribbles)


def test_other_unlabelled_value_and_class_zero(
    photo: npt.NDArray[np.uint8], strokes: npt.NDArray[np.uint8]
) -> None:
    shifted = np.where(strokes == 0, 255, np.where(strokes == 3, 0, 1)).astype(np.uint8)
    ours = solve(photo, shifted, unlabelled=255, device="cpu")
    assert ours.classes == (0, 1)
    np.testing.assert_array_equal(ours.probabilities, solve(photo, strokes, device="cpu").probabilities)
    check(ours, shifted, 255)


def test_given_unary_and_model_hook(photo: npt.NDArray[np.uint8], strokes: npt.NDArray[np.uint8]) -> None:
    sigma = np.random.default_rng(0).random((2, 64, 72))
    seen = []

    def model(image: npt.NDArray[Any], classes: tuple[int, ...]) -> npt.NDArray[np.float64]:
        seen.append((image.shape, classes))
        return sigma

    given = solve(photo, strokes, unary=sigma, device="cpu")
    hooked = solve(photo, strokes, unary=model, device="cpu")
    np.testing.assert_array_equal(given.probabilities, hooked.probabilities)
    assert seen == [((64, 72, 3), (3, 7))]
    assert given.unary is not None
    np.testing.assert_allclose(given.unary, sigma / sigma.sum(0), rtol=1e-5)


def test_more_classes_than_the_strokes_show(
    photo: npt.NDArray[np.uint8], strokes: npt.NDArray[np.uint8]
) -> None:
    solution = solve(photo, strokes, classes=(3, 5, 7), device="cpu")
    assert solution.classes == (3, 5, 7)
    check(solution, strokes)
    assert solution.probabilities[1].max() < 0.5


def test_mask_keeps_padding_out(photo: npt.NDArray[np.uint8], strokes: npt.NDArray[np.uint8]) -> None:
    mask = np.ones((80, 90), bool)
    mask[64:] = mask[:, 72:] = False
    padded = np.full((80, 90, 3), np.nan, np.float32)
    padded[:64, :72] = photo / np.float32(255)
    drawn = np.zeros((80, 90), np.uint8)
    drawn[:64, :72] = strokes
    drawn[70, 5] = 9  # a stroke on padding is no stroke
    solution = solve(padded, drawn, mask=mask, unary="none", device="cpu", tolerance=1e-5)
    plain = solve(photo / np.float32(255), strokes, unary="none", device="cpu", tolerance=1e-5)
    assert solution.classes == (3, 7)
    assert np.abs(solution.probabilities[:, :64, :72] - plain.probabilities).mean() < 0.02
    assert (solution.probabilities[:, 64:] == 0.5).all()


def test_progress_stop_and_status(photo: npt.NDArray[np.uint8], strokes: npt.NDArray[np.uint8]) -> None:
    reports: list[SolveProgress] = []
    done = solve(photo, strokes, device="cpu", progress=reports.append)
    assert done.status is Status.CONVERGED
    assert reports[0].stage == "unary"
    energies = [r.energy for r in reports if r.stage == "solve" and r.energy is not None]
    assert len(energies) == done.sweeps
    assert energies == sorted(energies, reverse=True)
    assert solve(photo, strokes, device="cpu", max_sweeps=1, tolerance=0).status is Status.MAX_SWEEPS
    stop = threading.Event()
    stop.set()
    stopped = solve(photo, strokes, device="cpu", stop=stop)
    assert stopped.status is Status.STOPPED
    check(stopped, strokes)


def test_solving_does_not_touch_its_input(
    photo: npt.NDArray[np.uint8], strokes: npt.NDArray[np.uint8]
) -> None:
    image, scribbles = (photo / 255).astype(np.float32), strokes.astype(np.int64)
    before = image.copy(), scribbles.copy()
    solve(image, scribbles, device="cpu", max_sweeps=3)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(scribbles, before[1])


def bad(**changes: Any) -> dict[str, Any]:
    image = np.random.default_rng(0).integers(0, 255, (8, 9, 3)).astype(np.uint8)
    scribbles = np.zeros((8, 9), np.int64)
    scribbles[1, 1:4], scribbles[6, 5:8] = 1, 2
    return {"image": image, "scribbles": scribbles, **changes}


NAN = np.full((8, 9), 0.5)
NAN[2, 3] = np.nan
HIGH = bad()["scribbles"].copy()
HIGH[0, 0] = 300
ONE = np.where(bad()["scribbles"] == 2, 0, bad()["scribbles"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scribbles": np.zeros((8, 8), int)}, "differ in size: 8 x 9 and 8 x 8"),
        ({"scribbles": np.zeros((8, 9), int)}, "no strokes.*unlabelled value 0"),
        ({"scribbles": ONE}, r"one class only \(value 1\).*second class"),
        ({"scribbles": HIGH}, "from 0 to 255, but the scribbles hold 300"),
        ({"scribbles": -HIGH}, "hold -300"),
        ({"scribbles": np.full((8, 9), 0.5)}, "whole numbers"),
        ({"image": NAN}, "1 NaN or infinite pixels, the first at row 2, column 3"),
        ({"image": np.full((8, 9), np.inf)}, "72 NaN or infinite"),
        (
            {"image": np.zeros((1, 1)), "scribbles": np.ones((1, 1), int)},
            "at least 2 x 2 pixels, but got 1 x 1",
        ),
        ({"image": np.zeros((2, 8, 9, 3))}, "4 dimensions"),
        ({"image": np.zeros((8, 9), complex)}, "real numbers"),
        ({"relaxation": "potts"}, "Unknown relaxation 'potts'; choose one of: bl, q, nq, cce, lq, cd"),
        ({"cross_entropy": "kl"}, "choose one of: ce, rce, cce"),
        ({"neighborhood": "grid6"}, "choose one of: grid4, grid8"),
        ({"method": "newton"}, "choose one of: mm, gd, closed-form"),
        ({"unary": "forest"}, "choose one of: classifier, pretrained, none"),
        ({"eta": -1.0}, r"eta.*0 to 100, but got -1\.0"),
        ({"lambda_": float("nan")}, "lambda_.*but got nan"),
        ({"bandwidth": 0}, "bandwidth.*but got 0"),
        ({"max_sweeps": 0}, "max_sweeps.*but got 0"),
        ({"device": "tpu"}, "device 'tpu'.*cpu"),
        ({"device": "cuda:99"}, "not available here; choose one of: auto, cpu"),
        ({"unary": np.ones((3, 8, 9))}, r"shape \(K, H, W\) = \(2, 8, 9\), but got \(3, 8, 9\)"),
        ({"unary": np.full((2, 8, 9), np.nan)}, "NaN, infinite or negative"),
        ({"unary": np.zeros((2, 8, 9))}, "all zero"),
        ({"mask": np.zeros((8, 9))}, "mask leaves no pixel"),
        ({"mask": np.ones((4, 4))}, "mask of size 8 x 9"),
        ({"classes": (2, 1)}, "ascending"),
        ({"classes": (1, 2, 300)}, "from 0 to 255, but got"),
        ({"image": np.full((8, 9), 1e300)}, "72 NaN or infinite"),
        ({"classes": (1, 3)}, "class 2, which is not among"),
        ({"classes": (1.5, 2)}, r"classes to be whole numbers, but got \(1\.5, 2\)"),
        ({"classes": "ab"}, "classes to be whole numbers, but got 'ab'"),
        ({"max_sweeps": 10**400}, "max_sweeps.*1 to 100000, but got 1000"),
        ({"scribbles": NAN}, "whole numbers, but they hold"),
        ({"mask": "here"}, "mask of size 8 x 9.*but got a single value"),
    ],
)
def test_bad_input_is_refused_with_value_and_way_out(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        next(iter_solve(**bad(**changes)))


def test_intensity_rule() -> None:
    eight = np.array([[0, 7, 255]], np.uint8)
    np.testing.assert_array_equal(to_intensity(eight)[..., 0], [[0, 7, 255]])
    np.testing.assert_allclose(to_intensity(eight / 255)[..., 0], [[0, 7, 255]], rtol=1e-5)
    np.testing.assert_array_equal(to_intensity(eight > 7)[..., 0], [[0, 0, 255]])
    sixteen = np.linspace(100, 4100, 100_000).astype(np.uint16).reshape(100, 1000)
    scaled = to_intensity(sixteen)[..., 0]
    assert np.percentile(scaled, 0.1) == pytest.approx(0, abs=0.1)
    assert np.percentile(scaled, 99.9) == pytest.approx(255, abs=0.1)
    # another offset and gain of a camera do not change what counts as an edge
    np.testing.assert_allclose(to_intensity(3 * sixteen + 50)[..., 0], scaled, atol=0.1)
