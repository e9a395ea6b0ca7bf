"""A pretrained network's features: on their pixels, alike in blocks and in any tiles, for any image, and of use."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage.io import imread

from napari_softseg import solve
from napari_softseg.errors import InputError
from napari_softseg.models.backbones import classification_network
from napari_softseg.unary import classifier, pretrained
from napari_softseg.unary.classifier import ImageFeatures, classify_planes, classify_strokes
from napari_softseg.unary.pretrained import PretrainedFeatures, is_loaded, pretrained_features

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
IMAGENET = SHARED / "weights" / "mobilenet_v2_imagenet.pth"

Image = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def network(random_weights: str) -> PretrainedFeatures:
    return PretrainedFeatures(random_weights, 3)


def features(
    network: PretrainedFeatures, image: Image, step: int = 1, origin: tuple[int, int] = (0, 0)
) -> Image:
    """Return (H, W, F)."""
    with ThreadPoolExecutor(2) as pool:
        found: Image = network.features(image, step, origin, pool).movedim(0, -1).numpy()
    return found


def noise(height: int, width: int, channels: int = 3) -> Image:
    return np.random.default_rng(0).uniform(0, 255, (height, width, channels)).astype(np.float32)


def alike(one: Image, other: Image) -> None:
    """Equal up to the last step of rounding."""
    assert one.std() > 0.01
    np.testing.assert_allclose(one, other, atol=1.01 / 64)


@pytest.mark.parametrize("step", [1, 2])
def test_an_image_shifted_by_the_coarsest_stride_has_shifted_features(
    network: PretrainedFeatures, step: int
) -> None:
    image = noise(160, 176)
    whole, shifted = features(network, image, step), features(network, image[16:, 8:], step)
    inside, moved = slice(48 // step, 80 // step), (16 // step, 8 // step)
    alike(shifted[inside, inside], whole[moved[0] :, moved[1] :][inside, inside])


@pytest.mark.parametrize(("step", "place"), [(1, 81), (1, 84), (2, 84), (2, 90)])
def test_a_dot_is_seen_where_it_is(network: PretrainedFeatures, step: int, place: int) -> None:
    image = np.full((160, 160, 3), 100, dtype=np.float32)
    seen = features(network, image, step)
    image[place : place + step, place : place + step] = 255
    change = np.abs(features(network, image, step) - seen).astype(np.float64)
    for first, last in ((0, 16), (16, 40), (40, 72)):  # of the strides 2, 4 and 8
        part = change[..., first:last].sum(-1)
        rows, columns = np.indices(part.shape)
        center = np.array([(rows * part).sum(), (columns * part).sum()]) / part.sum()
        # random filters are not symmetric: within less than the stride, not to the pixel
        np.testing.assert_allclose(center, place / step, atol=4 / step)


@pytest.mark.parametrize(("step", "place"), [(1, (60, 84)), (2, (60, 84)), (2, (0, 100)), (1, (64, 64))])
def test_a_block_sees_what_the_whole_image_does(
    network: PretrainedFeatures, step: int, place: tuple[int, int]
) -> None:
    image = noise(300, 300)
    whole = features(network, image, step)
    top, left = place
    block = features(network, image[top : top + 160, left : left + 160], step, place)
    inner = slice(48 // step, 112 // step)
    alike(block[inner, inner], whole[top // step :, left // step :][inner, inner])


@pytest.mark.parametrize("step", [1, 2])
def test_tiles_leave_no_seams(
    network: PretrainedFeatures, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = noise(150, 171)
    whole = features(network, image, step)
    monkeypatch.setattr(pretrained, "_TILE", 64)
    alike(features(network, image, step), whole)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 2), (9, 300), (257, 5)])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("step", [1, 2])
def test_any_size_and_channels(random_weights: str, shape: tuple[int, int], channels: int, step: int) -> None:
    network = PretrainedFeatures(random_weights, channels)
    found = features(network, noise(*shape, channels), step)
    assert found.shape == (-(-shape[0] // step), -(-shape[1] // step), network.count)
    assert np.isfinite(found).all()


def test_grey_is_seen_as_its_rgb_copy_is(random_weights: str, network: PretrainedFeatures) -> None:
    """Nearly: the one mean and deviation are those of all three channels."""
    image = noise(40, 40, 1)
    grey, color = (
        features(PretrainedFeatures(random_weights, 1), image),
        features(network, image.repeat(3, -1)),
    )
    assert np.corrcoef(grey.ravel(), color.ravel())[0, 1] > 0.95


def hidden_textures() -> tuple[Image, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return dashes that lean to the left or to the right, short strokes on either, and the truth.

    Colours, gradients and eigenvalues are the same wherever a dash points.
    """
    y, x = np.indices((128, 256))
    lean = np.where(x < 128, x + y, x - y)
    wave = np.sin(lean * (2 * np.pi / 9)) + np.random.default_rng(0).normal(0, 0.15, lean.shape)
    truth = (x >= 128).astype(np.int64)
    seeds = np.full(truth.shape, -1)
    for left in (40, 200):
        seeds[40:90, left : left + 8] = truth[40:90, left : left + 8]
    return np.repeat((128 + 60 * wave)[..., None], 3, -1).astype(np.float32), seeds, truth


def test_textures_that_the_own_features_cannot_tell_apart(network: PretrainedFeatures) -> None:
    image, seeds, truth = hidden_textures()
    alone = classify_strokes(image, seeds, 2).argmax(0)
    beside = classify_strokes(image, seeds, 2, network=network).argmax(0)
    assert (alone == truth).mean() < 0.7
    assert (beside == truth).mean() > 0.95


@pytest.mark.skipif(not IMAGENET.exists(), reason="needs the ImageNet weights and the gallery of ../shared")
def test_imagenet_features_help_on_real_images() -> None:
    scores: dict[str, list[float]] = {"classifier": [], "pretrained": []}
    for path in sorted((SHARED / "gallery" / "images").iterdir())[::4]:
        truth, strokes = (
            imread(SHARED / "gallery" / kind / f"{path.stem}.png") for kind in ("masks", "scribbles")
        )
        for unary, found in scores.items():
            labels = solve(imread(path), strokes, unary=unary, weights=IMAGENET, unlabelled=255).labels
            known = truth != 255
            pairs = [((labels == k) & known, (truth == k) & known) for k in np.unique(truth[known])]
            found.append(mean((a & b).sum() / (a | b).sum() for a, b in pairs))
    assert mean(scores["pretrained"]) > mean(scores["classifier"])


def test_the_same_twice_and_kept_for_the_next_stroke(
    network: PretrainedFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, seeds, _ = hidden_textures()
    looks: list[int] = []
    look = PretrainedFeatures._look

    def counted(*given: Any) -> None:
        looks.append(1)
        look(*given)

    monkeypatch.setattr(PretrainedFeatures, "_look", counted)
    monkeypatch.setattr(classifier, "_last", [])
    first = classify_strokes(image, seeds, 2, network=network)
    assert looks
    looks.clear()
    assert np.array_equal(classify_strokes(image, seeds, 2, network=network), first)
    assert not looks  # that was the next stroke
    assert not np.array_equal(classify_strokes(image, seeds, 2), first)  # nor are they taken for the own ones
    assert np.array_equal(classify_strokes(image, seeds, 2, network=network), first)
    assert looks


def test_volumes_plane_by_plane(network: PretrainedFeatures) -> None:
    image, seeds, truth = hidden_textures()
    volume = np.stack([image, image[::-1]])
    drawn = np.stack([seeds, np.full_like(seeds, -1)])
    sigma = classify_planes(volume, drawn, 2, network=network)
    np.testing.assert_array_equal(sigma[:, 0], classify_strokes(image, seeds, 2, network=network))
    assert (sigma[:, 1].argmax(0) == 1 - truth).mean() > 0.9  # upside down, each leans as the other did


def test_solve_takes_any_pixels(random_weights: str) -> None:
    deep = (noise(40, 50, 5) * 257).astype(np.uint16)
    strokes = np.zeros((40, 50), np.uint8)
    strokes[5:10, 5:20], strokes[30:35, 10:40] = 1, 2
    stages: list[str] = []
    for image in (deep, deep[..., 0], deep[..., :3].astype(np.float64)):
        for _ in range(2):
            stages.clear()
            solution = solve(
                image,
                strokes,
                unary="pretrained",
                weights=random_weights,
                progress=lambda report: stages.append(report.stage),
            )
            assert np.isfinite(solution.probabilities).all()
        assert stages[0] == "unary"  # the weights are there already
    tiny = solve(deep[:2, :2, 0], [[1, 2], [0, 0]], unary="pretrained", weights=random_weights)
    assert tiny.labels[0].tolist() == [1, 2]


def test_a_stop_while_weights_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The download goes on, and the next who asks gets what it brought."""
    going_on, stop = threading.Event(), threading.Event()

    def slow(load: Future[str], weights: str, channels: int) -> None:
        going_on.wait(30)
        load.set_result(weights + str(channels))

    monkeypatch.setattr(pretrained, "_load", slow)
    stop.set()
    assert pretrained_features("slow", 3, stop) is None
    assert not is_loaded("slow", 3)
    image, seeds, _ = hidden_textures()
    solution = solve(image, seeds + 1, unary="pretrained", weights="slow", stop=stop)
    assert solution.status.name == "STOPPED"
    going_on.set()
    assert pretrained_features("slow", 3) == "slow3"  # type: ignore[comparison-overlap]


def test_weights_that_cannot_be_had(random_weights: str, tmp_path: Path, no_downloads: Path) -> None:
    image, seeds, _ = hidden_textures()

    def refused(given: str | Path) -> str:
        with pytest.raises(InputError) as caught:
            solve(image, seeds + 1, unary="pretrained", weights=given)
        return str(caught.value)

    assert refused("none") == "Expected weights to be imagenet or a file, but there is no file none."
    assert "no file gone.pth" in refused("gone.pth")
    other = tmp_path / "other.pth"
    torch.save(classification_network("resnet18").state_dict(), other)
    assert "Give weights of mobilenet_v2" in refused(other)
    other.write_bytes(Path(random_weights).read_bytes()[:5000])
    assert f"Cannot use {other}: damaged" in refused(other)
    other.write_bytes(Path(random_weights).read_bytes())  # mended, under the same name
    solve(image, seeds + 1, unary="pretrained", weights=other)

    for _ in range(2):  # it is tried again
        message = refused("imagenet")
        assert "Cannot get the ImageNet weights of mobilenet_v2" in message
        assert f"put it at {no_downloads / 'mobilenet_v2-b0353104.pth'}" in message
        assert "\n" not in message
    torch.save(torch.load(random_weights), no_downloads / "mobilenet_v2-b0353104.pth")
    solve(image, seeds + 1, unary="pretrained")


def test_it_travels_to_other_processes(network: PretrainedFeatures) -> None:
    import pickle

    image = noise(30, 40)
    again = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(features(again, image), features(network, image))
    assert len(pickle.dumps(network)) < 1_000_000


def test_beside_the_own_features(network: PretrainedFeatures) -> None:
    image = noise(40, 50)
    own, both = ImageFeatures(image, 1).columns, ImageFeatures(image, 1, network).columns
    np.testing.assert_array_equal(both[:, : own.shape[1]], own)
    np.testing.assert_array_equal(
        both[:, own.shape[1] :], features(network, image).reshape(-1, network.count)
    )
