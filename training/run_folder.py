"""The folder of one training run: its settings, log, models, and the state a killed run goes on from.

Every file is replaced as a whole, and the log is only ever added to, so that whatever moment a run
dies at, the folder opens and the run goes on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from napari_softseg import __version__
from napari_softseg.errors import InputError
from napari_softseg.saving import replacing, sweep
from napari_softseg.training.options import completed
from napari_softseg.training.report.run_log import CONFIG, LOG, Event, read_events

FORMAT = 1
"""Version of the folder's layout."""


@dataclass(frozen=True, slots=True)
class State:
    """Where a run stands, between two steps."""

    tensors: dict[str, Tensor]
    epoch: int
    """Epochs of the run that are done, their scores included."""
    step: int
    """Steps of the run that are done."""
    best: dict[str, Any] | None
    sums: dict[str, float]
    """Of loss and terms over the steps of this epoch."""
    scaler: dict[str, Any]


class RunFolder:
    """The files of a run. Use it as a context manager: it is locked while a process trains in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / ".lock")

    def __enter__(self) -> RunFolder:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            sweep([self.path])
        except Timeout:
            raise InputError(
                f"{self.path} is being trained in by another process; wait, or stop it."
            ) from None
        except OSError as error:
            raise InputError(
                f"Cannot write into {self.path}: {error.strerror or error}; choose another folder."
            ) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    @property
    def config_path(self) -> Path:
        """Settings and data of the run."""
        return self.path / CONFIG

    @property
    def log_path(self) -> Path:
        """One event per line."""
        return self.path / LOG

    @property
    def state_path(self) -> Path:
        """What the run goes on from."""
        return self.path / "state.safetensors"

    def check_empty(self) -> None:
        """Raise InputError if the folder holds something; it need not be there."""
        if self.path.is_dir() and any(entry.name != ".lock" for entry in self.path.iterdir()):
            raise InputError(
                f"{self.path} is not empty; go on with it by --resume, or choose another folder."
            )

    def create(self, config: Mapping[str, Any]) -> None:
        """Write the settings into a folder that must not hold anything yet.

        Raises
        ------
        InputError
            If there is something in it.
        """
        self.check_empty()
        self._write_json(self.config_path, {"format": FORMAT, "version": __version__, **config})

    def config(self) -> dict[str, Any]:
        """Return the settings.

        Raises
        ------
        InputError
            If the folder holds no run, or one of a newer version.
        """
        return read_config(self.path)

    def set_places(self, now: Mapping[str, Any]) -> None:
        """Write down where the images lie by now."""
        then = self.config()
        places = {name: now[name] for name in ("folders", "val", "val_images")}
        if {**then, **places} != then:
            before = self.config_path.stat()
            self._write_json(self.config_path, {**then, **places})
            os.utime(self.config_path, ns=(before.st_atime_ns, before.st_mtime_ns))  # when the run began

    def begin_with(self, other: RunFolder, state: State) -> None:
        """Take over the models, the log and the state of another run, up to that state.

        The state comes last: without it a run that goes on begins anew.
        """
        models = [path for path in other.path.glob("*.safetensors") if path != other.state_path]
        for source in [*models, *(path.with_suffix(".json") for path in models)]:
            with replacing(self.path / source.name) as (temporary,):
                shutil.copyfile(source, temporary)
        for event in read_events(other.path):
            if _before(event, state.epoch, state.step):
                self.append(event)
        self.save_state(state)

    def append(self, event: Event) -> None:
        """Add an event to the log."""
        with self.log_path.open("a", encoding="utf-8") as log:
            log.write(json.dumps(event, allow_nan=False) + "\n")

    def forget_after(self, epoch: int, step: int) -> None:
        """Drop the events that come after a state: its run goes on from there."""
        kept = [event for event in read_events(self.path) if _before(event, epoch, step)]
        with replacing(self.log_path) as (temporary,):
            temporary.write_text("".join(json.dumps(event) + "\n" for event in kept), encoding="utf-8")

    def save_state(self, state: State) -> None:
        """Replace the state."""
        header = {
            "format": FORMAT,
            "epoch": state.epoch,
            "step": state.step,
            "best": state.best,
            "sums": state.sums,
            "scaler": state.scaler,
        }
        with replacing(self.state_path) as (temporary,):
            try:
                save_file(state.tensors, temporary, metadata={"state": json.dumps(header)})
                shutil.copymode(self.config_path, temporary)  # safetensors' is for its owner alone
            except SafetensorError as error:
                raise InputError(
                    f"Cannot write {self.state_path} ({error}); free some space, then go on by --resume: "
                    "what was saved before is whole."
                ) from None

    def load_state(self) -> State | None:
        """Return the state, None before the first one was saved.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        if not self.state_path.exists():
            return None
        try:
            with safe_open(self.state_path, framework="pt") as file:
                header = json.loads(file.metadata()["state"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{self.state_path} is damaged ({error}); its models are still good: "
                f"train on from one with --weights {self.path}."
            ) from None
        return State(
            tensors, header["epoch"], header["step"], header["best"], header["sums"], header["scaler"]
        )

    def _write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        with replacing(path) as (temporary,):
            temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_config(run: Path) -> dict[str, Any]:
    """Return the settings of the run in a folder.

    Raises
    ------
    InputError
        If the folder holds no run, or one of a newer version.
    """
    path = run / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        newer = config["format"] > FORMAT
        if not newer and not config.keys() >= {"options", "folders", "val", "images", "classes"}:
            raise KeyError
    except FileNotFoundError:
        raise InputError(f"{run} holds no training run (there is no {path}).") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{path} is damaged: it is no JSON of a training run.") from None
    if newer:
        raise InputError(
            f"{run} was made by napari-softseg {config.get('version')}, which is newer than this one "
            f"({__version__}); update napari-softseg."
        )
    config["options"] = completed(config["options"])
    return config


def _before(event: Event, epoch: int, step: int) -> bool:
    kind = event.get("event")
    if kind == "start":
        return True
    if kind == "step":
        return bool(event["step"] <= step)
    return kind == "epoch" and event["epoch"] <= epoch
