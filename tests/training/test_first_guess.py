"""A network and strokes make one first guess; soft labels of whole projects come from it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from napari_softseg import InputError, solve
from napari_softseg.models import save_model
from napari_softseg.models.classes import channels_of
from napari_softseg.options import SolveOptions
from napari_softseg.project import Project, ProjectClass, create_project
from napari_softseg.training.first_guess import FileVersion, NetworkUnary, TrainedNetwork
from napari_softseg.training.predict_project import PredictOutcome, PredictProgress, predict_project
from tests.training.networks import random_image, random_network

NAMES = ("sky", "road", "car")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "net.safetensors"
    save_model(path, random_network(class_names=NAMES, backbone="mobilenet_v3_small"), {})
    return path


@pytest.fixture(scope="module")
def network(file: Path) -> TrainedNetwork:
    return TrainedNetwork(file)


@pytest.mark.parametrize(
    ("wanted", "channels"),
    [
        (NAMES, (0, 1, 2)),
        (("car", "sky", "road"), (2, 0, 1)),
        (("sky", "tree", "road", "car"), (0, -1, 1, 2)),
    ],
)
def test_classes_are_found_by_name(wanted: tuple[str, ...], channels: tuple[int, ...]) -> None:
    assert channels_of(NAMES, wanted) == channels


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (("sky", "road"), r"it knows 'car', which is not among yours; rename"),
        (("sky", "road", "van"), r"it does not know 'van', and it knows 'car', which is not among yours"),
        (
            ("sky", "road", "car", "car"),
            r"classes of the strokes are matched by name, but 'car' is there twice",
        ),
    ],
)
def test_other_classes_are_refused_with_the_difference(wanted: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        channels_of(NAMES, wanted)


def test_an_image_is_looked_at_once(network: TrainedNetwork) -> None:
    first, second = random_image((70, 60, 3), 5), random_image((70, 60, 3), 6)
    seen = network.look_at(first).probabilities
    assert np.abs(network.look_at(second).probabilities - seen).max() > 0.1
    assert network.look_at(first.copy()).probabilities is seen
    stop = threading.Event()
    stop.set()
    third = random_image((70, 60, 3), 7)
    np.testing.assert_allclose(
        network.look_at(third, stop=stop).probabilities, 1 / 3
    )  # stopped: not worth keeping
    assert network.look_at(third).probabilities.std() > 0.05


def test_a_file_that_was_replaced_is_another_version(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "best.safetensors"
    copy.write_bytes(file.read_bytes())
    version = FileVersion.of(tmp_path)
    assert version == FileVersion.of(copy)
    os.utime(copy, ns=(1, 1))
    assert version != FileVersion.of(copy)
    copy.unlink()
    with pytest.raises(InputError, match=r"There is no best\.safetensors"):
        FileVersion.of(tmp_path)


def test_without_strokes_the_network_guesses_in_the_persons_order(network: TrainedNetwork) -> None:
    image = random_image((60, 70, 3), 4)
    unary = NetworkUnary.matching(network, {9: "sky", 1: "car", 4: "road"})
    assert unary.values == (1, 4, 9)
    guess = unary.guess(image, np.zeros((60, 70), np.uint8))
    np.testing.assert_array_equal(guess, network.look_at(image).probabilities[[2, 1, 0]])
    solution = solve(image, np.zeros((60, 70)), unary=lambda *_: guess, classes=unary.values)
    assert solution.classes == (1, 4, 9)


def test_a_class_that_the_network_does_not_know_is_left_to_the_strokes(network: TrainedNetwork) -> None:
    image = random_image((60, 70, 3), 4)
    unary = NetworkUnary.matching(network, {1: "car", 2: "tree", 3: "sky", 4: "road"})
    assert unary.unknown == (2,)
    strokes = np.zeros((60, 70), np.uint8)
    guess = unary.guess(image, strokes)
    assert not guess[1].any()
    np.testing.assert_array_equal(guess[[0, 2, 3]], network.look_at(image).probabilities[[2, 0, 1]])
    strokes[20:40, 20:40] = 2
    guess = unary.guess(image, strokes)
    np.testing.assert_allclose(guess.sum(0), 1, atol=1e-5)
    assert guess[1][20:40, 20:40].mean() > 0.5


def test_an_image_of_other_channels_is_refused(network: TrainedNetwork) -> None:
    unary = NetworkUnary.matching(network, {1: "sky", 2: "car", 3: "road"})
    with pytest.raises(InputError, match="Expected 3 channels"):
        unary.guess(random_image((60, 70, 1)), np.zeros((60, 70), np.uint8))


def make_project(path: Path, unlabelled: int = 255) -> tuple[Project, dict[str, npt.NDArray[np.uint8]]]:
    """Two images, one of them with a stroke of one class."""
    classes = [ProjectClass(value, name, (value, 0, 0)) for value, name in enumerate(("car", "sky", "road"))]
    project = create_project(path, classes, unlabelled=unlabelled)
    strokes = np.full((64, 80), unlabelled, np.uint8)
    project.add_image(random_image((64, 80, 3), 1), name="one")
    strokes[20:23, 10:60] = 2
    project.add_image(random_image((64, 80, 3), 2), name="two", scribbles=strokes)
    return project, {"two": strokes}


def predict(
    project: Project, file: Path, stop: threading.Event | None = None, **options: Any
) -> PredictOutcome:
    reports: list[PredictProgress] = []
    outcome = predict_project(
        project,
        file,
        SolveOptions(**options),
        stop=stop or threading.Event(),
        progress=reports.append,
    )
    assert reports[-1] == PredictProgress(len(project.names), len(project.names), "")
    return outcome


def test_all_images_of_a_project_get_soft_labels(file: Path, network: TrainedNetwork, tmp_path: Path) -> None:
    project, strokes = make_project(tmp_path / "p")
    with project:
        outcome = predict(project, file)
        assert (outcome.done, outcome.total, outcome.left_out, outcome.stopped) == (2, 2, {}, False)
        one, two = project.read_soft_labels("one"), project.read_soft_labels("two")
        assert one is not None
        assert two is not None
        assert one.shape == (3, 64, 80)
        np.testing.assert_allclose(two.sum(0), 1, atol=1e-5)
        painted = strokes["two"] == 2
        assert (two[2][painted] == 1).all()
        unary = NetworkUnary.matching(network, {0: "car", 1: "sky", 2: "road"})
        guess = unary.guess(project.read_image("one"), np.full((64, 80), 255), unlabelled=255)
        expected = solve(
            project.read_image("one"), np.full((64, 80), 255), unary=guess, classes=(0, 1, 2), unlabelled=255
        )
        np.testing.assert_allclose(one, expected.probabilities, atol=1e-5)


def test_images_that_cannot_be_predicted_are_left_out(file: Path, tmp_path: Path) -> None:
    project, _ = make_project(tmp_path / "p")
    with project:
        project.add_image(random_image((64, 80, 1), 3)[..., 0], name="gray")
        project.image_path("one").unlink()
        outcome = predict(project, file)
        assert outcome.done == 1
        assert list(outcome.left_out) == ["one", "gray"]
        assert "Expected 3 channels" in outcome.left_out["gray"]
        assert project.read_soft_labels("gray") is None


def test_a_cancelled_prediction_writes_nothing_more(file: Path, tmp_path: Path) -> None:
    project, _ = make_project(tmp_path / "p")
    with project:
        stop = threading.Event()
        stop.set()
        outcome = predict(project, file, stop)
        assert outcome.stopped
        assert outcome.done == 0
        assert project.read_soft_labels("one") is None


def test_a_project_of_other_classes_is_refused(file: Path, tmp_path: Path) -> None:
    project = create_project(
        tmp_path / "p", [ProjectClass(1, "sky", (0, 0, 0)), ProjectClass(2, "cat", (1, 1, 1))]
    )
    with project, pytest.raises(InputError, match=r"does not know 'cat'.* knows 'road', 'car'"):
        predict(project, file)
