"""What is read of a run without a process of its own: logs as they grow, last words, names, guesses of time."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from napari_softseg.cli import main
from napari_softseg.models.config import Backbone
from napari_softseg.models.torchvision_import import torchvision
from napari_softseg.runs import Curves, StepTimes, command_line, run_name, stop_hint
from napari_softseg.runs.imagenet import FILES, imagenet_is_here
from napari_softseg.runs.last_words import complaint, printed
from napari_softseg.runs.log_tail import BEGINNING, read_new
from napari_softseg.runs.state import RunState, Status
from napari_softseg.runs.step_times import about
from napari_softseg.saving import replacing
from napari_softseg.training.options import as_json, train_options
from napari_softseg.training.report.run_log import LOG
from napari_softseg.training.schedule import Schedule


def step(number: int) -> str:
    event = {"event": "step", "step": number, "terms": {"pce": 1 / number}, "loss": 1.0, "eta_s": 1.0}
    return json.dumps(event) + "\n"


def test_a_growing_log_is_read_once_and_only_in_whole_lines(tmp_path: Path) -> None:
    assert read_new(tmp_path).events == []
    log = tmp_path / LOG
    log.write_text(step(1) + step(2)[:20])
    first = read_new(tmp_path)
    assert [event["step"] for event in first.events] == [1]
    assert first.anew
    with log.open("a") as file:
        file.write(step(2)[20:] + step(3))
    more = read_new(tmp_path, first.position)
    assert [event["step"] for event in more.events] == [2, 3]
    assert not more.anew
    assert read_new(tmp_path, more.position).events == []


def test_a_log_that_was_replaced_is_read_anew_however_long_it_is(tmp_path: Path) -> None:
    log = tmp_path / LOG
    log.write_text(step(1) + step(2))
    before = read_new(tmp_path).position
    with replacing(log) as (temporary,):  # as a run that goes on does
        temporary.write_text(step(1) + step(7) + step(8))
    after = read_new(tmp_path, before)
    assert after.anew
    assert [event["step"] for event in after.events] == [1, 7, 8]
    log.unlink()
    assert read_new(tmp_path, after.position).position == BEGINNING


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / LOG).write_bytes(b'{"event": "st\xff\n' + step(2).encode())
    assert [event["step"] for event in read_new(tmp_path).events] == [2]


def test_curves_hold_every_term_from_where_it_begins() -> None:
    curves = Curves()
    curves.take(
        {"event": "step", "step": n, "terms": {"pce": 1.0, **({"self": 2.0} if n > 1 else {})}}
        for n in (1, 2)
    )
    val = {"source": "held-out strokes", "miou": 0.5, "pixel_accuracy": None}
    curves.take([{"event": "epoch", "epoch": 1, "val": val}, {"event": "epoch", "epoch": 2, "val": None}])
    copy = curves.copy()
    curves.take([{"event": "step", "step": 3, "terms": {"pce": 0.5}}])
    assert copy.terms == {"pce": ([1, 2], [1.0, 1.0]), "self": ([2], [2.0])}
    assert copy.scores["IoU"] == ([1], [0.5])
    assert copy.scores["accuracy"][1][0] != copy.scores["accuracy"][1][0]  # NaN: a gap in the line
    assert copy.scored_on == "held-out strokes"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "epoch 1: loss 1\nnapari-softseg: error: No memory left; take less.\n",
            "No memory left; take less.",
        ),
        (
            'Traceback (most recent call last):\n  File "x.py", line 1, in f\n    g()\nRuntimeError: CUDA error\n'
            "Compile with more.\n",
            "RuntimeError: CUDA error",
        ),
        (
            "Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n  File x\n",
            "Segmentation fault",
        ),
        ("Traceback (most recent call last):\n  File x\nKeyboardInterrupt\n", ""),
        ("napari-softseg: some warning\nepoch 1: loss 1\n", ""),
        ("", ""),
    ],
)
def test_last_words(tmp_path: Path, said: str, words: str) -> None:
    path = tmp_path / "train.log"
    path.write_text("$ first\nnapari-softseg: error: of the process before\n$ second\n" + said)
    assert complaint(printed(path)) == words


def test_of_a_long_text_only_the_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("$ first\n" + "epoch\n" * 100_000 + "the end\n")
    lines = printed(path)
    assert lines[-1] == "the end"
    assert len(lines) < 20_000


def test_runs_are_numbered_after_the_last() -> None:
    assert run_name([]) == "run-001"
    assert run_name(["run-002", "run-010", "mine", "run-x"]) == "run-011"


def test_the_copied_command_is_one_that_the_command_line_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"preset": "fast", "lambda_": 3.0, "restart": True, "entropy": None, "device": "cpu"}
    line = command_line(tmp_path / "my project", tmp_path / "run", options)
    program, *arguments = shlex.split(line)
    assert program == "napari-softseg"
    assert arguments[1] == str(tmp_path / "my project")
    assert main(arguments) == 2  # every flag is understood: it is the folder that is missing
    assert "my project" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([], False),
        ([0.5, 0.5], False),
        ([0.5, 0.505, 0.509], True),
        ([0.5, 0.505, 0.511], False),
        ([0.5, 0.7, 0.6, 0.7], True),
        ([0.5, 0.5, 0.5, 0.7, 0.6], False),
    ],
)
def test_the_hint_to_stop(scores: list[float], said: bool) -> None:
    assert bool(stop_hint(scores)) is said


def test_a_guess_of_time_follows_steps_and_crops(tmp_path: Path) -> None:
    options = train_options(preset="fast", device="cpu")
    assert Schedule(options, 3).steps == 100
    times = StepTimes(tmp_path / "cache" / "times.json")
    assert times.estimate(options, 3) is None
    state = RunState("run-001", tmp_path, Status.RUNNING, as_json(options), seconds_per_step=0.5)
    times.learn(state)
    again = StepTimes(times.path)
    assert again.estimate(options, 3) == pytest.approx(50)
    twice = train_options(preset="fast", device="cpu", epochs=20)
    assert again.estimate(twice, 3) == pytest.approx(100)
    larger = train_options(preset="fast", device="cpu", batch=8, samples=80)
    assert again.estimate(larger, 3) == pytest.approx(100)
    assert again.estimate(train_options(preset="fast", device="cpu", backbone="resnet18"), 3) is None
    times.path.write_text("{")
    assert StepTimes(times.path).estimate(options, 3) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.1, "about 5 seconds"),
        (31, "about 30 seconds"),
        (60, "about a minute"),
        (250, "about 4 minutes"),
        (7200, "about 2 hours"),
        (9000, "about 2.5 hours"),
    ],
)
def test_a_time_in_words(seconds: float, words: str) -> None:
    assert about(seconds) == words


def test_imagenet_weights_are_looked_for_where_torch_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.delenv("TORCH_HOME", raising=False)
    for backbone in Backbone:
        url = torchvision().get_model_weights(backbone.value).IMAGENET1K_V1.url
        assert FILES[backbone] == Path(url).name
    assert not imagenet_is_here("resnet18")
    folder = Path(torch.hub.get_dir(), "checkpoints")
    assert folder.is_relative_to(tmp_path)
    folder.mkdir(parents=True)
    (folder / FILES["resnet18"]).touch()
    assert imagenet_is_here("resnet18")
    assert not imagenet_is_here("resnet50")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "elsewhere"))
    assert not imagenet_is_here("resnet18")
