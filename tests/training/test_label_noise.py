"""Wrong pseudo-labels on purpose: how many, where, and that the comparison has them."""

from __future__ import annotations

import pytest
import torch

from napari_softseg.training.compare.variants import NOISES, SET_BY_VARIANTS, VARIANTS
from napari_softseg.training.losses import TrainingLoss
from napari_softseg.training.options import train_options
from napari_softseg.training.pseudo_labels import with_noise
from tests.training.random_batches import random_batch, random_logits


def test_a_share_of_the_free_pixels_gets_a_random_class() -> None:
    labels = torch.zeros(4, 5, 60, 70)
    labels[:, 0] = 1.0
    free = torch.ones(4, 60, 70, dtype=torch.bool)
    free[:, :10] = False
    torch.manual_seed(3)
    noisy = with_noise(labels, free, 0.4)
    assert torch.equal(noisy[:, :, :10], labels[:, :, :10])
    assert torch.equal(noisy.sum(1), torch.ones(4, 60, 70))
    # one in five draws the class that was there
    shares = noisy[:, :, 10:].mean((0, 2, 3))
    assert shares[0] == pytest.approx(0.6 + 0.4 / 5, abs=0.02)
    assert shares[1:].tolist() == pytest.approx([0.4 / 5] * 4, abs=0.02)
    torch.manual_seed(3)
    assert torch.equal(with_noise(labels, free, 0.4), noisy)
    assert with_noise(labels, free, 0.0) is labels


@pytest.mark.parametrize("loss", ["self", "hard"])
def test_the_loss_is_that_of_the_noisy_labels(loss: str) -> None:
    batch = random_batch(padding=1)
    logits = random_logits(batch)
    clean, noisy = (
        TrainingLoss(train_options(loss=loss, label_noise=share), 3)(logits, batch, stage=2)
        for share in (0.0, 1.0)
    )
    assert clean.pseudo_labels is not None
    assert noisy.pseudo_labels is not None
    on_strokes = (batch.seeds >= 0).unsqueeze(1).expand_as(clean.pseudo_labels)
    assert torch.equal(noisy.pseudo_labels[on_strokes], clean.pseudo_labels[on_strokes])
    free = batch.valid & (batch.seeds < 0)
    assert set(noisy.pseudo_labels.amax(1)[free].tolist()) == {1.0}
    assert noisy.terms["pce"] == clean.terms["pce"]
    expected = -(noisy.pseudo_labels * logits.detach().log_softmax(1)).sum(1)[free].mean()
    assert noisy.terms["self"] == pytest.approx(0.9 * float(expected), rel=1e-4)


def test_three_cross_entropies_meet_the_same_noise() -> None:
    noisy = [variant for variant in VARIANTS if "label_noise" in variant.options]
    pairs = {(variant.options["cross_entropy"], variant.options["label_noise"]) for variant in noisy}
    assert pairs == {(entropy, share) for entropy in ("ce", "rce", "cce") for share in NOISES}
    assert len(noisy) == 6
    assert "label_noise" in SET_BY_VARIANTS
