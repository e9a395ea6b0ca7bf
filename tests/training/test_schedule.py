"""Which crops, stage and learning rate a step has."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_softseg.errors import InputError
from napari_softseg.training.options import PRESETS, Preset, TrainOptions, as_json, train_options
from napari_softseg.training.schedule import Schedule


@given(
    n_images=st.integers(1, 30),
    samples=st.integers(1, 40),
    batch=st.integers(1, 5),
    accumulate=st.integers(1, 3),
    processes=st.integers(1, 3),
    epoch=st.integers(0, 3),
)
def test_every_image_comes_once_before_any_comes_again(
    n_images: int, samples: int, batch: int, accumulate: int, processes: int, epoch: int
) -> None:
    options = TrainOptions(samples=samples, batch=batch, accumulate=accumulate)
    schedule = Schedule(options, n_images, processes)
    of_all = [schedule.batches(epoch, process) for process in range(processes)]
    draws = [draw for batches in of_all for batch_draws in batches for draw in batch_draws]
    assert sorted(draw.position for draw in draws) == list(range(len(draws)))
    assert len(draws) == schedule.steps_per_epoch * schedule.crops_per_step >= max(n_images, samples)
    assert len(draws) - max(n_images, samples) < schedule.crops_per_step
    counts = Counter(draw.image for draw in draws)
    assert len(counts) == min(n_images, len(draws)) == n_images
    assert max(counts.values()) - min(counts.values()) <= 1
    for batches in of_all:
        assert len(batches) == schedule.steps_per_epoch * accumulate


def test_processes_share_the_crops_one_would_have() -> None:
    alone = Schedule(TrainOptions(batch=4, samples=1), 20)
    two = Schedule(TrainOptions(batch=2, samples=1), 20, processes=2)
    for step, crops in enumerate(alone.batches(1)):
        shared = [draw for process in range(2) for draw in two.batches(1, process)[step]]
        assert sorted(crops, key=str) == sorted(shared, key=str)


def test_an_epoch_goes_on_where_it_was_left() -> None:
    schedule = Schedule(TrainOptions(batch=2, accumulate=2, samples=1), 20)
    assert schedule.batches(3, first_step=2) == schedule.batches(3)[4:]
    assert schedule.batches(3) != schedule.batches(2)


def test_the_learning_rate_falls_as_in_the_paper() -> None:
    one = Schedule(TrainOptions(epochs=10, batch=5, samples=1, lr=0.007), 50)
    assert one.learning_rate(0) == 0.007
    assert one.learning_rate(50) == pytest.approx(0.007 * 0.5**0.9)
    assert one.learning_rate(99) == pytest.approx(0.007 * 0.01**0.9)
    two = Schedule(TrainOptions(epochs=10, batch=5, samples=1, lr=0.007, restart=True), 50)
    assert two.learning_rate(25) == pytest.approx(0.007 * 0.5**0.9)
    assert two.learning_rate(50) == 0.0007
    assert [step for step in range(100) if two.restarts_at(step)] == [50]
    assert [two.stage(epoch) for epoch in range(10)] == [1] * 5 + [2] * 5


@pytest.mark.parametrize(("loss", "stages"), [("pce", {1}), ("full", {2}), ("self", {1, 2})])
def test_losses_of_one_stage_have_one(loss: str, stages: set[int]) -> None:
    schedule = Schedule(TrainOptions(epochs=4, loss=loss), 3)
    assert {schedule.stage(epoch) for epoch in range(4)} == stages


def test_what_is_given_wins_over_the_preset() -> None:
    assert train_options(preset="paper").crop == 513
    assert train_options(preset="paper", crop=99).crop == 99
    assert as_json(train_options(preset="fast")) == as_json(
        TrainOptions(preset="fast", **PRESETS[Preset.FAST])
    )
    assert as_json(train_options()) == as_json(TrainOptions())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"epochs": 0}, "Expected epochs to be a whole number from 1"),
        ({"output_stride": 12}, "Expected output_stride to be 8 or 16, but got 12"),
        ({"scale_low": 3}, "at most scale_high, but got 3 and 2"),
        ({"loss": "best"}, "choose one of: self, hard, gd, pce, full"),
        ({"restart": "yes"}, "Expected restart to be true or false"),
        ({"eppochs": 3}, "Unknown training option 'eppochs'"),
        ({"unlabelled": 300}, "from 0 to 255, but got 300"),
    ],
)
def test_wrong_options_are_named(given: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        train_options(**given)
