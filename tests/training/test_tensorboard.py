"""TensorBoard logs, read back record by record."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from napari_softseg.training.tensorboard import TensorBoardLog


def step(number: int, loss: float | None) -> dict[str, Any]:
    return {"event": "step", "epoch": 1, "step": number, "loss": loss, "terms": {"pce": 0.5}, "lr": 0.007}


def epoch(val: dict[str, Any] | None) -> dict[str, Any]:
    return {"event": "epoch", "epoch": 1, "loss": 2.0, "terms": {"pce": 1.5, "self": 0.5}, "val": val}


def records(run: Path) -> list[Any]:
    """Every record of every file: length (8 bytes), its checksum (4), data, checksum (4)."""
    found = []
    for path in sorted((run / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def scalars(run: Path) -> dict[tuple[str, int], float]:
    return {
        (value.tag, record.step): value.simple_value
        for record in records(run)
        for value in record.summary.value
    }


def test_the_numbers_of_steps_and_epochs(tmp_path: Path) -> None:
    with TensorBoardLog(tmp_path) as log:
        log.add({"event": "start", "options": {}})
        log.add(step(1, 3.0))
        log.add(step(2, None))  # a loss that is no number
        log.add(step(3, float("nan")))
        log.add(epoch({"miou": 0.25, "pixel_accuracy": 0.75, "iou": {"car": 0.5, "pole": None}}))
        log.add(epoch(None))
        log.add({"event": "end", "status": "finished"})
    found = scalars(tmp_path)
    assert found["step/loss", 1] == 3.0
    assert found["step/lr", 3] == pytest.approx(0.007)
    assert found["step/term/pce", 2] == 0.5
    assert [step for tag, step in found if tag == "step/loss"] == [1]
    assert {tag: value for (tag, at), value in found.items() if tag.startswith("epoch/") and at == 3} == {
        "epoch/loss": 2.0,
        "epoch/term/pce": 1.5,
        "epoch/term/self": 0.5,
        "epoch/val/miou": 0.25,
        "epoch/val/pixel_accuracy": 0.75,
        "epoch/val_iou/car": 0.5,
    }


def test_a_run_that_goes_on_voids_the_steps_it_repeats(tmp_path: Path) -> None:
    for first in (1, 41):
        with TensorBoardLog(tmp_path) as log:
            log.add(step(first, 1.0))
    starts = [record for record in records(tmp_path) if record.session_log.status == SessionLog.START]
    assert [record.step for record in starts] == [1, 41]


def test_nothing_is_written_before_the_first_number(tmp_path: Path) -> None:
    with TensorBoardLog(tmp_path) as log:
        log.add({"event": "start", "options": {}})
    assert list(tmp_path.iterdir()) == []
