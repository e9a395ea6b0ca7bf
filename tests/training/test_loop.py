"""Whole runs on tiny folders: what they leave behind, how they stop, and that they go on as if nothing was."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from napari_softseg.errors import InputError
from napari_softseg.models import DeepLabV3Plus, load_model
from napari_softseg.training.crops import CropSet
from napari_softseg.training.data import open_annotated, shrink
from napari_softseg.training.evaluate import iter_evaluate
from napari_softseg.training.loop import iter_train
from napari_softseg.training.report.run_log import read_events
from napari_softseg.training.run_folder import RunFolder, read_config
from tests.training.folders import TINY, tiny, write_folder

COMMAND = [sys.executable, "-m", "napari_softseg", "train"]


def flags(**options: Any) -> list[str]:
    given = {**TINY, **options}
    return [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def finish(events: Any) -> tuple[list[Any], Any]:
    seen = []
    while True:
        try:
            seen.append(next(events))
        except StopIteration as end:
            return seen, end.value


def tensors(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return load_model(run / f"{name}.safetensors").model.state_dict()


def assert_same_models(a: Path, b: Path) -> None:
    for name in ("best", "last"):
        ours, theirs = tensors(a, name), tensors(b, name)
        assert ours.keys() == theirs.keys()
        for key, tensor in ours.items():
            assert torch.equal(tensor, theirs[key]), key


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def straight(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("runs") / "straight"
    finish(iter_train([folder], run, tiny(), val=folder))
    return run


def test_whoever_may_read_the_model_may_go_on_with_the_run(straight: Path) -> None:
    modes = {name: (straight / name).stat().st_mode for name in ("last.safetensors", "state.safetensors")}
    assert modes["state.safetensors"] == modes["last.safetensors"]


def test_a_run_leaves_models_log_and_pictures(straight: Path, folder: Path) -> None:
    log = read_events(straight)
    assert [event["event"] for event in log] == [
        "start",
        *[kind for _ in range(4) for kind in ("step", "step", "epoch")],
        "end",
    ]
    epochs = [event for event in log if event["event"] == "epoch"]
    assert set(epochs[0]["terms"]) == {"pce"}
    assert {"pce", "self"} <= set(epochs[-1]["terms"])
    for event in epochs:
        steps = [e["loss"] for e in log if e["event"] == "step" and e["epoch"] == event["epoch"]]
        assert event["loss"] == pytest.approx(sum(steps) / len(steps))
        assert event["val"]["source"] == "masks"
    best = max(epochs, key=lambda event: event["val"]["miou"])
    assert log[-1]["best"] == {"epoch": best["epoch"], "miou": best["val"]["miou"]}
    assert load_model(straight).details["epoch"] == best["epoch"]
    assert load_model(straight).config.class_names == ("dark", "bright")
    assert read_config(straight)["images"] == ["0", "1", "2", "3"]
    assert (straight / "samples" / "0_epoch004_pseudo.png").exists()
    assert list((straight / "tensorboard").iterdir())


def test_two_textures_are_learned(folder: Path, tmp_path: Path) -> None:
    options = tiny(epochs=12, samples=16, batch=4, lr=0.01, scale_low=1, scale_high=1, batch_norm="train")
    _, result = finish(iter_train([folder], tmp_path / "run", options, val=folder))
    assert result.best is not None
    assert result.best["miou"] > 0.8


@pytest.mark.parametrize("loss", ["self", "hard", "gd", "pce", "full"])
def test_every_loss_is_scored_on_what_there_is(loss: str, folder: Path, tmp_path: Path) -> None:
    options = tiny(loss=loss, epochs=2, accumulate=2)
    events, result = finish(iter_train([folder], tmp_path / "run", options))
    assert result.status == "finished"
    val = [event["val"] for event in events if event["event"] == "epoch"]
    if loss == "full":
        assert val == [None, None]
    else:
        assert [one["source"] for one in val] == ["held-out strokes"] * 2


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(folder: Path, straight: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for after in (1, 3, 5):  # at a step, at the end of an epoch, while it goes on
        stop = threading.Event()
        steps = iter_train([folder], run, tiny(), val=folder, resume=True, stop=stop)
        for _ in range(after):
            next(steps)
        stop.set()
        events, result = finish(steps)
        assert result.status == events[-1]["status"] == "stopped"
    finish(iter_train([folder], run, tiny(), val=folder, resume=True))
    assert_same_models(run, straight)
    assert without_times(run) == without_times(straight)


def without_times(run: Path) -> list[dict[str, Any]]:
    return [
        {**event, "seconds": 0, "eta_s": 0, "run": ""}
        for event in read_events(run)
        if event["event"] != "start"
    ]


@pytest.fixture(scope="module")
def first_stage(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of another second stage than `straight`, stopped before it began."""
    run = tmp_path_factory.mktemp("runs") / "first"
    options = tiny(relaxation="bl", cross_entropy="rce", eta=5, lambda_=1, sweeps=1, normalisation="seeds")
    _, result = finish(iter_train([folder], run, options, val=folder, stop_after=2))
    assert (result.status, result.message) == ("stopped", "stopped after epoch 2 of 4; --resume goes on")
    return run


def test_a_run_from_the_first_stage_of_another_is_one_from_the_start(
    folder: Path, straight: Path, first_stage: Path, tmp_path: Path
) -> None:
    untouched = (first_stage / "log.jsonl").read_bytes()
    finish(iter_train([folder], tmp_path / "run", tiny(), val=folder, first_stage=first_stage))
    assert_same_models(tmp_path / "run", straight)
    assert without_times(tmp_path / "run") == without_times(straight)
    assert (first_stage / "log.jsonl").read_bytes() == untouched


@pytest.mark.parametrize("normalisation", ["means", "seeds"])
def test_strokes_alone_share_the_first_stage(
    normalisation: str, folder: Path, first_stage: Path, tmp_path: Path
) -> None:
    options = tiny(loss="pce", normalisation=normalisation)
    finish(iter_train([folder], tmp_path / "straight", options, val=folder))
    finish(iter_train([folder], tmp_path / "run", options, val=folder, first_stage=first_stage))
    assert_same_models(tmp_path / "run", tmp_path / "straight")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lr": 0.5}, "has lr 0.001, but now it is 0.5"),
        ({"warmup": 0.25}, "has warmup 0.5, but now it is 0.25"),
        ({"loss": "full"}, "Loss full has no first stage"),
    ],
)
def test_another_first_stage_is_refused(
    options: dict[str, Any], says: str, folder: Path, first_stage: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=says):
        next(iter_train([folder], tmp_path / "run", tiny(**options), val=folder, first_stage=first_stage))
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_run_in_its_second_stage_is_no_first_stage(folder: Path, straight: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone on to epoch 5.* with --stop-after 2"):
        next(iter_train([folder], tmp_path / "run", tiny(eta=1), val=folder, first_stage=straight))
    with pytest.raises(InputError, match="holds no training run"):
        next(iter_train([folder], tmp_path / "run", tiny(), val=folder, first_stage=folder))


def test_a_schedule_of_its_own_is_another_first_stage(folder: Path, tmp_path: Path) -> None:
    finish(iter_train([folder], tmp_path / "first", tiny(restart=True), stop_after=1))
    options = tiny(restart=True, loss="pce")
    with pytest.raises(InputError, match="other learning rates"):
        next(iter_train([folder], tmp_path / "run", options, first_stage=tmp_path / "first"))


def test_a_killed_run_goes_on_as_if_it_had_not_been_killed(
    folder: Path, straight: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = [
        *COMMAND,
        str(folder),
        "--val",
        str(folder),
        "-o",
        str(run),
        "--resume",
        "--events",
        "jsonl",
        *flags(),
    ]
    rng = random.Random(0)
    for _ in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for _ in range(rng.randint(2, 4)):
                process.stdout.readline()
            time.sleep(rng.uniform(0, 0.3))
            process.kill()
    subprocess.run(command, check=True, capture_output=True)
    assert_same_models(run, straight)


def test_scores_are_those_of_evaluate(folder: Path, tmp_path: Path) -> None:
    options = tiny(epochs=1, resize=40, batch_norm="train")
    events, _ = finish(iter_train([folder], tmp_path / "run", options, val=folder))
    found = finish(iter_evaluate(load_model(tmp_path / "run").model, open_annotated(folder, need="masks")))[1]
    val = next(event["val"] for event in events if event["event"] == "epoch")
    assert val["miou"] == pytest.approx(found.confusion.miou)


@pytest.mark.parametrize("resize", [None, 30])
def test_strokes_to_score_on_are_not_trained_on(resize: int | None, folder: Path) -> None:
    annotated = open_annotated(folder)
    crops = CropSet(annotated, tiny(resize=resize), 0.3)
    for number in range(len(crops)):
        held = crops.scored_sample(number).truth
        assert held is not None
        everything = annotated.load(number)
        kept = everything.seeds.clone()
        kept[held >= 0] = -1
        assert int((held >= 0).sum()) > 0
        expected = replace(everything, seeds=kept)
        expected = expected if resize is None else shrink(expected, resize)
        assert torch.equal(crops.sample(number).seeds, expected.seeds)


def test_two_processes_or_accumulated_batches_train_as_one(folder: Path, tmp_path: Path) -> None:
    same = {
        "precision": "fp32",
        "dropout": 0.0,
        "batch_norm": "frozen",
        "batch": 4,
        "samples": 8,
        "held_out": 0,
    }
    finish(iter_train([folder], tmp_path / "one", tiny(**same)))
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    options = flags(**{**same, "batch": 2})
    subprocess.run(
        [*torchrun, *COMMAND[1:], str(folder), "-o", str(tmp_path / "two"), *options],
        check=True,
        capture_output=True,
    )
    one, two = (
        [e["loss"] for e in read_events(tmp_path / run) if e["event"] == "step"] for run in ("one", "two")
    )
    assert len(one) == 8
    assert two == pytest.approx(one, rel=1e-4)
    finish(iter_train([folder], tmp_path / "parts", tiny(**{**same, "batch": 1, "accumulate": 4})))
    parts = [e["loss"] for e in read_events(tmp_path / "parts") if e["event"] == "step"]
    assert parts == pytest.approx(one, rel=1e-4)


def test_a_diverged_run_says_so_and_keeps_its_models(folder: Path, tmp_path: Path) -> None:
    options = tiny(lr=10, momentum=0.99, epochs=30, loss="pce", batch_norm="frozen")
    _, result = finish(iter_train([folder], tmp_path / "run", options, val=folder))
    assert result.status == "diverged"
    assert "smaller --lr than 10" in result.message
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors(tmp_path / "run", "best").values())


def test_a_network_that_ends_an_epoch_in_nan_is_not_kept(folder: Path, tmp_path: Path) -> None:
    def spoil(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        with torch.no_grad():
            optimiser.param_groups[0]["params"][0].fill_(torch.nan)

    hook = register_optimizer_step_post_hook(spoil)
    try:
        options = tiny(samples=1, epochs=1, batch=4)  # one step: no loss is computed after it
        _, result = finish(iter_train([folder], tmp_path / "run", options))
    finally:
        hook.remove()
    assert result.status == "diverged"
    assert not list((tmp_path / "run").glob("*.safetensors"))


def test_training_goes_on_from_a_model_by_the_names_of_its_classes(
    straight: Path, folder: Path, tmp_path: Path
) -> None:
    other = write_folder(tmp_path / "other")
    (other / "classes.txt").write_text("bright\ndark\n")
    options = tiny(weights=str(straight), lr=0, epochs=1)
    finish(iter_train([other], tmp_path / "run", options, val=other))
    ours, theirs = tensors(tmp_path / "run"), tensors(straight, "best")
    for name, tensor in theirs.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            last = tensor.shape[0] == 2  # of the last layer: a row for each of the two classes
            assert torch.equal(ours[name], tensor.flip(0) if last else tensor), name
    assert sum(tensor.shape[:1] == (2,) for tensor in theirs.values()) == 2


@pytest.mark.parametrize(
    ("most", "says"),
    [(1, "1 fit: start again in another folder with --batch 1 --accumulate 4"), (0, "a smaller --crop")],
)
def test_full_memory_says_what_would_fit(most: int, says: str, folder: Path, tmp_path: Path) -> None:
    def fail_above(module: torch.nn.Module, inputs: Any) -> None:
        if isinstance(module, DeepLabV3Plus) and len(inputs[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    hook = torch.nn.modules.module.register_module_forward_pre_hook(fail_above)
    try:
        with pytest.raises(InputError, match=says):
            finish(iter_train([folder], tmp_path / "run", tiny(batch=4)))
    finally:
        hook.remove()


class TestBadInput:
    def test_a_folder_with_something_in_it(self, folder: Path, straight: Path) -> None:
        with pytest.raises(InputError, match="is not empty; go on with it by --resume"):
            next(iter_train([folder], straight, tiny()))
        before = sorted(folder.iterdir())
        with pytest.raises(InputError, match="is not empty"):
            next(iter_train([folder], folder, tiny()))
        assert sorted(folder.iterdir()) == before

    def test_other_options(self, folder: Path, straight: Path) -> None:
        with pytest.raises(InputError, match=r"The run has lr 0\.001, but now it is 0\.5"):
            next(iter_train([folder], straight, tiny(lr=0.5), resume=True))

    def test_other_masks_to_score_on(self, folder: Path, straight: Path) -> None:
        with pytest.raises(InputError, match=r"The run has val .*, but now it is None"):
            next(iter_train([folder], straight, tiny(), resume=True))

    def test_masks_in_another_place(self, folder: Path, straight: Path, tmp_path: Path) -> None:
        other = write_folder(tmp_path / "other")
        config = json.loads((straight / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match=r"The run has val .*, but now it is .*other"):
            # those it had are still there
            next(iter_train([folder], tmp_path, tiny(), val=other, resume=True))
        gone = {**config, "val": str(tmp_path / "gone")}
        (tmp_path / "config.json").write_text(json.dumps(gone))
        next(iter_train([folder], tmp_path, tiny(), val=other, resume=True))
        assert json.loads((tmp_path / "config.json").read_text()) == {**config, "val": str(other.resolve())}
        del gone["val_images"]  # as runs of before have it
        (tmp_path / "config.json").write_text(json.dumps(gone))
        with pytest.raises(InputError, match=r"The run has val .*gone, but now it is .*other"):
            next(iter_train([folder], tmp_path, tiny(), val=other, resume=True))

    def test_another_number_of_processes(self, folder: Path, straight: Path, tmp_path: Path) -> None:
        config = json.loads((straight / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**config, "processes": 2}))
        with pytest.raises(InputError, match="The run has processes 2, but now it is 1"):
            next(iter_train([folder], tmp_path, tiny(), val=folder, resume=True))

    def test_other_images(self, folder: Path, straight: Path, tmp_path: Path) -> None:
        other = write_folder(tmp_path / "other", n_images=3)
        with pytest.raises(InputError, match=r"The images of the run have changed \(3\)"):
            next(iter_train([other], straight, tiny(), val=folder, resume=True))

    def test_a_run_that_is_being_trained(self, folder: Path, tmp_path: Path) -> None:
        with RunFolder(tmp_path), pytest.raises(InputError, match="being trained in by another process"):
            next(iter_train([folder], tmp_path, tiny(), resume=True))

    def test_a_damaged_state(self, folder: Path, tmp_path: Path) -> None:
        events = iter_train([folder], tmp_path / "run", tiny())
        while next(events)["event"] != "epoch":
            pass
        next(events)  # the state is saved once the log has the epoch
        events.close()
        state = tmp_path / "run" / "state.safetensors"
        state.write_bytes(state.read_bytes()[:1000])
        with pytest.raises(InputError, match=r"state\.safetensors is damaged"):
            next(iter_train([folder], tmp_path / "run", tiny(), resume=True))

    def test_a_newer_run(self, straight: Path, tmp_path: Path) -> None:
        config = json.loads((straight / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps({**config, "format": 99, "version": "9.9"}))
        with pytest.raises(InputError, match=r"made by napari-softseg 9\.9, which is newer"):
            read_config(tmp_path)

    def test_an_option_that_came_later_has_its_default(self, straight: Path, tmp_path: Path) -> None:
        config = json.loads((straight / "config.json").read_text())
        del config["options"]["class_balance"]
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert read_config(tmp_path) == read_config(straight)

    @pytest.mark.parametrize("lost", ["options", "folders", "images"])
    def test_settings_that_lack_something(self, straight: Path, tmp_path: Path, lost: str) -> None:
        config = json.loads((straight / "config.json").read_text())
        del config[lost]
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match=r"config\.json is damaged"):
            read_config(tmp_path)

    def test_a_torn_log(self, tmp_path: Path) -> None:
        (tmp_path / "log.jsonl").write_text('{"event": "start"}\n{"event": "st')
        assert read_events(tmp_path) == [{"event": "start"}]

    def test_channels_of_the_masks_folder(self, folder: Path, tmp_path: Path) -> None:
        grey = write_folder(tmp_path / "grey", channels=1)
        with pytest.raises(InputError, match="1 channels, but the folder to train on of 3"):
            next(iter_train([folder], tmp_path / "run", tiny(), val=grey))
        assert not (tmp_path / "run").exists()

    def test_precision_without_a_gpu(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="fp16 needs a CUDA device"):
            next(iter_train([folder], tmp_path / "run", tiny(precision="fp16")))
        assert not (tmp_path / "run").exists()
