"""Runs whose loss grows beyond all bounds, as a number or as none, and what is left of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from napari_softseg.models import load_model
from napari_softseg.training.data import Batch
from napari_softseg.training.loop import iter_train
from napari_softseg.training.losses import TrainingLoss
from napari_softseg.training.options import train_options
from napari_softseg.training.report.run_log import read_events
from tests.training.folders import tiny, write_folder
from tests.training.random_batches import random_batch


def trained(run: Path, **options: Any) -> Any:
    folder = write_folder(run.parent / "tiny")
    events = iter_train([folder], run, tiny(**options), val=folder)
    while True:
        try:
            next(events)
        except StopIteration as end:
            return end.value


@pytest.mark.parametrize(
    ("options", "says"),
    [
        # with statistics of every batch nothing ever becomes inf: this run used to go on at losses of 1e15
        ({"lr": 3.0, "loss": "self", "batch_norm": "train"}, "the loss grew to "),
        ({"lr": 10.0, "loss": "pce", "batch_norm": "frozen"}, "the loss became nan (pce)"),
    ],
)
def test_a_loss_beyond_bounds_ends_the_run(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = trained(run, epochs=10, **options)
    assert result.status == "diverged"
    assert says in result.message
    assert f"smaller --lr than {options['lr']:g}" in result.message
    losses = [event["loss"] for event in read_events(run) if event["event"] == "step"]
    assert 0 < len(losses) < 20
    assert max(losses) < 1000
    for name in ("best", "last"):  # the epoch before
        state = load_model(run / f"{name}.safetensors").model.state_dict()
        assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


@pytest.mark.parametrize("normalisation", ["means", "seeds"])
@pytest.mark.parametrize("loss", ["pce", "full", "self", "hard", "gd"])
def test_what_a_network_loses_that_knows_nothing(loss: str, normalisation: str) -> None:
    batch: Batch = random_batch(padding=1)
    options = train_options(
        loss=loss, normalisation=normalisation, cross_entropy="ce", lambda_=0.0, eta=0.7, reach=5.0
    )
    training_loss = TrainingLoss(options, 3)
    logits = torch.zeros(*batch.seeds.shape[:1], 3, *batch.seeds.shape[1:])
    terms = training_loss(logits, batch, stage=2).terms
    bound = training_loss.uninformed(training_loss.counts(batch, stage=2), stage=2)
    assert sum(terms.values()) == pytest.approx(bound, rel=1e-5)
    first = training_loss.uninformed(training_loss.counts(batch, stage=1), stage=1)
    assert first == pytest.approx(math.log(3))


def test_both_models_say_how_good_they_are(tmp_path: Path) -> None:
    trained(tmp_path / "run", epochs=3, val_every=2)
    epochs = [event for event in read_events(tmp_path / "run") if event["event"] == "epoch"]
    assert [event["val"] is None for event in epochs] == [True, False, False]
    details = json.loads((tmp_path / "run" / "last.json").read_text())["details"]
    assert (details["epoch"], details["val"]) == (3, epochs[-1]["val"])
    assert details["val"]["source"] == "masks"
