"""Pseudo-labels that start from the network and from the strokes: the mean of both, its files, and whole runs."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_softseg.training.data import Sample, augment, collate
from napari_softseg.training.loop import iter_train
from napari_softseg.training.losses import TrainingLoss
from napari_softseg.training.options import LabelsFrom, train_options
from napari_softseg.training.run_folder import read_config
from napari_softseg.training.stroke_guesses import StrokeGuesses, network_and_guess
from napari_softseg.unary.classifier import classify_strokes
from tests.training.folders import tiny, write_folder
from tests.training.random_batches import random_batch, random_logits
from tests.training.test_loop import finish


def two_grounds(strokes: int = 2) -> Sample:
    """A dark half and a bright one; a stroke on either, or on the dark one alone; the third class has none."""
    image = torch.full((3, 20, 30), 60.0)
    image[..., 15:] = 180.0
    image += torch.rand(image.shape, generator=torch.Generator().manual_seed(0)) * 20
    seeds = torch.full((20, 30), -1)
    seeds[5:7, 2:12] = 0
    if strokes == 2:
        seeds[5:7, 18:28] = 2
    return Sample("halves", image, seeds, None, torch.ones(20, 30, dtype=torch.bool))


def distributions(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (1.5 * torch.randn(*shape, generator=generator, dtype=torch.float64)).softmax(1)


def test_the_mean_by_hand() -> None:
    """sqrt(.4 * .81) : sqrt(.1 * .09) is 6 : 1, of the half that the two classes have together."""
    sigma = torch.tensor([0.4, 0.1, 0.5], dtype=torch.float64).reshape(1, 3, 1, 1)
    guess = torch.tensor([0.81, 0.09, 0.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    expected = torch.tensor([0.5 * 6 / 7, 0.5 / 7, 0.5], dtype=torch.float64)
    torch.testing.assert_close(network_and_guess(sigma, guess).flatten(), expected)


@given(st.integers(0, 2**31 - 1))
def test_the_mean_is_a_distribution_that_leaves_other_classes_alone(seed: int) -> None:
    sigma, guess = distributions(seed, 2, 5, 3, 4), distributions(seed + 1, 2, 5, 3, 4)
    drawn = torch.rand(2, 5, generator=torch.Generator().manual_seed(seed)) < 0.5
    guess = guess * drawn[..., None, None]
    mixed = network_and_guess(sigma, guess)
    torch.testing.assert_close(mixed.sum(1), torch.ones(2, 3, 4, dtype=torch.float64))
    assert torch.equal(mixed[~drawn], sigma[~drawn])
    assert torch.equal(network_and_guess(sigma, torch.zeros_like(guess)), sigma)
    # two classes with strokes: neither moves away from what both say
    for one, two in ((0, 1), (1, 4)):
        both = drawn[:, one] & drawn[:, two]
        odds = [(x[both, one] / x[both, two]).log() for x in (sigma, guess, mixed)]
        torch.testing.assert_close(odds[2], (odds[0] + odds[1]) / 2, rtol=1e-4, atol=1e-4)


def test_a_sure_network_of_nothing_else_gives_numbers() -> None:
    sigma = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    mixed = network_and_guess(sigma, torch.tensor([0.01, 0.99]).reshape(1, 2, 1, 1))
    assert mixed.isfinite().all()
    assert float(mixed[0, 0]) > 0.9


def test_the_guess_is_the_classifiers(tmp_path: Path) -> None:
    sample = two_grounds()
    guess = StrokeGuesses(tmp_path / "kept", 3).of(sample)
    expected = classify_strokes(
        np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy()), sample.seeds.numpy(), 3
    )
    assert not guess[1].any()
    torch.testing.assert_close(guess[[0, 2]], torch.from_numpy(expected[[0, 2]]).half(), rtol=0, atol=0)
    assert (guess[0, :, :15] > guess[2, :, :15]).all()


def test_it_is_found_once_and_kept(tmp_path: Path) -> None:
    guesses, sample = StrokeGuesses(tmp_path / "kept", 3), two_grounds()
    first = guesses.of(sample)
    (path,) = (tmp_path / "kept").iterdir()
    planes = np.load(path, allow_pickle=False)
    np.save(path, planes / 2)
    torch.testing.assert_close(guesses.of(sample), first / 2)
    # a spoilt file is no answer, nor is one of another size
    for spoilt in (path.read_bytes()[:-3], b"", b"nonsense"):
        path.write_bytes(spoilt)
        assert torch.equal(guesses.of(sample), first)
    np.save(path, planes[:, 1:])
    assert torch.equal(guesses.of(sample), first)
    # other strokes or other pixels are asked about anew
    moved = replace(sample, seeds=sample.seeds.roll(1, 0))
    guesses.of(moved)
    guesses.of(replace(sample, image=sample.image + 1))
    assert len(list((tmp_path / "kept").iterdir())) == 3
    guesses.forget()
    assert not (tmp_path / "kept").exists()


def test_one_class_says_nothing(tmp_path: Path) -> None:
    assert not StrokeGuesses(tmp_path / "kept", 3).of(two_grounds(strokes=1)).any()
    assert not (tmp_path / "kept").exists()


@settings(deadline=None)
@given(st.integers(0, 2**31 - 1), st.integers(4, 30), st.integers(4, 30), st.floats(0.5, 2.0))
def test_guesses_stay_on_their_pixels(seed: int, height: int, width: int, zoom: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(1, height, width, generator=generator)
    nothing = torch.full((height, width), -1)
    guess = torch.cat([image, torch.zeros_like(image), 1 - image]).half()
    sample = Sample("guessed", image, nothing, None, nothing < 0, guess)
    out = augment(sample, generator, crop=20, scale=(zoom, zoom), blur=0.0)
    assert out.guess is not None
    torch.testing.assert_close(out.guess[0][out.valid].float(), out.image[0][out.valid], atol=1e-3, rtol=0)
    assert not out.guess[1].any()
    assert not out.guess[:, ~out.valid].any()
    batch = collate([out, out])
    assert batch.guesses is not None
    assert batch.guesses.dtype == torch.float32
    assert torch.equal(batch.guesses[1], out.guess.float())


@pytest.mark.parametrize("loss", ["self", "hard"])
def test_pseudo_labels_start_from_both_and_the_network_learns_from_them(loss: str) -> None:
    batch = random_batch(padding=1)
    logits = random_logits(batch)
    guesses = distributions(3, *logits.shape).float()
    guesses[:, 1] = 0
    training = TrainingLoss(train_options(loss=loss), 3)
    both = training(logits, replace(batch, guesses=guesses), stage=2)
    sigma = logits.detach().softmax(1)
    expected, _ = training.pseudo_labels(
        network_and_guess(sigma, guesses), batch.images.double(), batch.seeds, batch.valid
    )
    assert both.pseudo_labels is not None
    torch.testing.assert_close(both.pseudo_labels, expected)
    alone = training(logits, batch, stage=2).pseudo_labels
    assert alone is not None
    assert not torch.allclose(alone, expected)
    free = batch.valid & (batch.seeds < 0)
    agreement = (expected * sigma).sum(1)[free]  # cross-entropy CCE is minus its logarithm
    assert both.terms["self"] == pytest.approx(-0.9 * float(agreement.log().mean()), rel=1e-4)


def test_a_run_keeps_guesses_until_it_has_ended(tmp_path: Path) -> None:
    folder, run = write_folder(tmp_path / "data"), tmp_path / "run"
    stop = threading.Event()
    events = iter_train([folder], run, tiny(), val=folder, stop=stop)
    for _ in range(4):
        next(events)
    stop.set()
    finish(events)
    assert len(list((run / "guesses").iterdir())) == 4
    finish(iter_train([folder], run, tiny(), val=folder, resume=True))
    assert not (run / "guesses").exists()


@pytest.mark.parametrize("options", [{"labels_from": "network"}, {"loss": "pce"}, {"loss": "gd"}])
def test_what_needs_no_guess_finds_none(options: dict[str, str], tmp_path: Path) -> None:
    folder, run = write_folder(tmp_path / "data"), tmp_path / "run"
    finish(iter_train([folder], run, tiny(**options), val=folder, stop_after=1))
    assert not (run / "guesses").exists()


def test_a_run_of_before_goes_on_with_the_network_alone(tmp_path: Path) -> None:
    folder, run = write_folder(tmp_path / "data"), tmp_path / "run"
    finish(iter_train([folder], run, tiny(labels_from="network"), val=folder, stop_after=3))
    config = json.loads((run / "config.json").read_text())
    del config["options"]["labels_from"]
    (run / "config.json").write_text(json.dumps(config))
    assert read_config(run)["options"]["labels_from"] == LabelsFrom.NETWORK
    _, result = finish(iter_train([folder], run, tiny(labels_from="network"), val=folder, resume=True))
    assert result.status == "finished"


def test_presets_and_the_paper() -> None:
    assert train_options(preset="paper").labels_from == LabelsFrom.NETWORK
    assert train_options(preset="fast").labels_from == train_options().labels_from == LabelsFrom.BOTH
