"""Training on a handful of images: classes that weigh alike, and an end where nothing is learned any more."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from napari_softseg.models import load_model
from napari_softseg.training.data import Batch
from napari_softseg.training.loop import TrainResult, iter_train
from napari_softseg.training.losses import TrainingLoss
from napari_softseg.training.network import set_training_mode, take_statistics
from napari_softseg.training.options import train_options
from napari_softseg.training.report.run_log import read_events
from tests.training.folders import TINY, tiny, write_folder
from tests.training.networks import random_network
from tests.training.random_batches import random_batch, random_logits

SHORT: dict[str, Any] = {"lr": 0.0, "samples": 2, "epochs": 10, "loss": "pce"}
"""An epoch is a step, which changes nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "tiny", n_images=1)


def finish(events: Any) -> TrainResult:
    while True:
        try:
            next(events)
        except StopIteration as end:
            result: TrainResult = end.value
            return result


def scores(run: Path) -> list[float | None]:
    vals = [event["val"] for event in read_events(run) if event["event"] == "epoch"]
    return [None if val is None else val["miou"] for val in vals]


@contextmanager
def spoiled(folder: Path, after: int) -> Iterator[None]:
    """Let every network find the more frequent of two classes everywhere for so many steps, then the other."""
    frequent = round(np.mean([np.asarray(Image.open(path)).mean() for path in (folder / "masks").iterdir()]))
    steps = itertools.count(1)

    def rule(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        bias = optimiser.param_groups[1]["params"][-1]
        assert bias.shape == (2,)
        with torch.no_grad():
            bias.copy_(500 * F.one_hot(torch.tensor(frequent if next(steps) <= after else 1 - frequent), 2))

    hook = register_optimizer_step_post_hook(rule)
    try:
        yield
    finally:
        hook.remove()


@pytest.mark.parametrize("patience", [1, 3])
def test_a_run_ends_where_scores_have_stopped_rising(patience: int, folder: Path, tmp_path: Path) -> None:
    with spoiled(folder, 2):
        result = finish(
            iter_train([folder], tmp_path / "run", tiny(**SHORT, early_stop=patience), val=folder)
        )
    assert result.status == "finished"
    assert result.message.startswith(f"ended after {2 + patience} of 10 epochs")
    assert result.best is not None
    assert result.best["epoch"] == 2
    high, low = scores(tmp_path / "run")[1:3]
    assert scores(tmp_path / "run") == [high] * 2 + [low] * patience


def test_the_first_stage_does_not_count(folder: Path, tmp_path: Path) -> None:
    options = tiny(**{**SHORT, "loss": "gd", "warmup": 0.5}, early_stop=1)
    with spoiled(folder, 2):
        finish(iter_train([folder], tmp_path / "run", options, val=folder))
    assert len(scores(tmp_path / "run")) == 6


def test_without_it_a_run_goes_to_its_end(folder: Path, tmp_path: Path) -> None:
    with spoiled(folder, 1):
        result = finish(iter_train([folder], tmp_path / "run", tiny(**{**SHORT, "epochs": 4}), val=folder))
    assert result.message == "finished 4 epochs"
    assert len(scores(tmp_path / "run")) == 4


def test_an_end_comes_when_it_would_have_come_without_a_stop(folder: Path, tmp_path: Path) -> None:
    options, run = tiny(**SHORT, early_stop=3, batch_norm="few"), tmp_path / "run"
    with spoiled(folder, 2):
        message = finish(iter_train([folder], tmp_path / "straight", options, val=folder)).message
    assert message.startswith("ended after ")
    with spoiled(folder, 2):
        for _ in range(4):
            stop = threading.Event()
            steps = iter_train([folder], run, options, val=folder, resume=True, stop=stop)
            for _ in range(3):  # start, step, epoch
                next(steps)
            stop.set()
            assert finish(steps).status == "stopped"
        messages = [
            finish(iter_train([folder], run, options, val=folder, resume=True)).message for _ in range(2)
        ]
    assert messages == [message] * 2
    assert scores(run) == scores(tmp_path / "straight")
    ours, theirs = (load_model(path / "last.safetensors").model for path in (run, tmp_path / "straight"))
    for name, tensor in ours.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name


def test_it_ends_with_a_score_and_never_without_one(folder: Path, tmp_path: Path) -> None:
    with spoiled(folder, 3):
        finish(iter_train([folder], tmp_path / "run", tiny(**SHORT, early_stop=1, val_every=3), val=folder))
        options = tiny(**{**SHORT, "epochs": 3}, held_out=0.0, early_stop=1)
        finish(iter_train([folder], tmp_path / "none", options))
    assert [score is not None for score in scores(tmp_path / "run")] == [False, False, True] * 2
    assert scores(tmp_path / "none") == [None] * 3


def test_two_processes_end_together(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from napari_softseg.cli import main\n"
        "from tests.training.test_few_images import spoiled\n"
        "with spoiled(Path(sys.argv[2]), 2):\n"
        "    sys.exit(main(sys.argv[1:]))\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = {**TINY, **SHORT, "batch": 1, "early_stop": 2}
    given = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = [
        *torchrun,
        str(script),
        "train",
        str(folder),
        "--val",
        str(folder),
        "-o",
        str(tmp_path / "run"),
    ]
    subprocess.run(
        [*command, *given],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert len(scores(tmp_path / "run")) == 4
    assert read_events(tmp_path / "run")[-1]["status"] == "finished"


def test_preset_fast_ends_early_the_others_do_not() -> None:
    assert train_options(preset="fast").early_stop is not None
    assert train_options().early_stop is train_options(preset="paper").early_stop is None


def test_rare_classes_weigh_as_much_as_frequent_ones_up_to_a_limit() -> None:
    batch = random_batch()
    seeds = torch.full_like(batch.seeds, -1)
    seeds[0, 0, :6] = 0
    seeds[0, 1, :2] = 1
    seeds[1, 0, 0] = 2
    batch = Batch(images=batch.images, seeds=seeds, valid=batch.valid, truth=None)
    logits = random_logits(batch)
    nll = -logits.detach().log_softmax(1).gather(1, seeds.clamp(min=0)[:, None])[:, 0]
    means = torch.stack([nll[seeds == k].mean() for k in range(3)])
    for limit, weights in ((1.0, [6, 2, 1]), (4.0, [6, 6, 4]), (100.0, [6, 6, 6])):
        options = train_options(loss="pce", class_balance=limit)
        shares = torch.tensor(weights, dtype=torch.float64)
        expected = float((means * shares).sum() / shares.sum())
        found = TrainingLoss(options, 3)(logits, batch, stage=1)
        assert float(found.total.detach()) == pytest.approx(expected, rel=1e-9)


def test_batches_with_common_counts_are_balanced_as_one() -> None:
    batch = random_batch(strokes=0.3)
    logits = random_logits(batch)
    loss = TrainingLoss(train_options(loss="pce", class_balance=20.0), 3)
    halves = [
        Batch(
            images=batch.images[b : b + 1],
            seeds=batch.seeds[b : b + 1],
            valid=batch.valid[b : b + 1],
            truth=None,
        )
        for b in range(2)
    ]
    counts = torch.stack([loss.counts(half, stage=1) for half in halves]).mean(0)
    parts = [loss(logits[b : b + 1], half, stage=1, counts=counts).total for b, half in enumerate(halves)]
    whole = loss(logits, batch, stage=1).total
    torch.testing.assert_close(torch.stack(parts).mean(), whole, rtol=1e-9, atol=0)


def test_statistics_are_those_of_the_batches_they_are_taken_from() -> None:
    network = random_network(backbone="mobilenet_v3_small")
    batches = [torch.rand(3, 3, 48, 64) * 255 for _ in range(2)]
    set_training_mode(network, train_options(preset="fast", weights="none"), 4)
    take_statistics(network, batches)
    assert not any(module.training for module in network.modules())
    first = next(module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d))
    seen: list[Tensor] = []
    hook = first.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        for images in batches:
            network(images)
    hook.remove()
    torch.testing.assert_close(first.running_mean, torch.cat(seen).mean((0, 2, 3)))
    torch.testing.assert_close(first.running_var, torch.stack([x.var((0, 2, 3)) for x in seen]).mean(0))
    assert first.momentum == 0.1


@pytest.mark.parametrize(
    ("policy", "crops", "pooling"), [("auto", 7, False), ("auto", 8, True), ("few", 8, False)]
)
def test_few_crops_say_nothing_of_the_variance_of_image_pooling(
    policy: str, crops: int, pooling: bool
) -> None:
    network = random_network(backbone="mobilenet_v3_small")
    set_training_mode(network, train_options(preset="balanced", weights="none", batch_norm=policy), crops)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    within = [
        module for module in network.image_pooling.modules() if isinstance(module, torch.nn.BatchNorm2d)
    ]
    assert within
    assert [norm.training for norm in norms] == [pooling or norm not in within for norm in norms]


def test_frozen_statistics_are_left_alone() -> None:
    network = random_network(backbone="mobilenet_v3_small")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    set_training_mode(network, train_options(preset="fast", weights="imagenet"), 4)
    take_statistics(network, [torch.rand(2, 3, 48, 64) * 255])
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not any(name.startswith(("backbone", "aspp.convs.4")) for name in changed)
    assert any(name.startswith("aspp.convs.3") for name in changed)
