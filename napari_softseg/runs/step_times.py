"""How long steps of training took on this machine, to say beforehand how long a run will take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from napari_softseg.runs.state import RunState
from napari_softseg.saving import replacing
from napari_softseg.training.options import TrainOptions, train_options
from napari_softseg.training.schedule import Schedule


class StepTimes:
    """Seconds per pixel of a crop, by device and network.

    Parameters
    ----------
    path
        Where they are kept; default: the person's cache folder.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or platformdirs.user_cache_path("napari-softseg") / "step_times.json"
        self._times = self._read()

    def learn(self, state: RunState) -> None:
        """Keep what a run took; one that has no epoch yet tells nothing."""
        if state.seconds_per_step is None or not state.options:
            return
        options = train_options(**state.options)
        times = {**self._read(), _key(options): state.seconds_per_step / _pixels(options)}
        self._times = times
        with suppress(OSError):  # a guess less is no reason to stop anybody
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as (temporary,):
                temporary.write_text(json.dumps(times, indent=1), encoding="utf-8")

    def estimate(self, options: TrainOptions, n_images: int) -> float | None:
        """Return about how many seconds a run takes; None if none of its kind was measured here."""
        per_pixel = self._times.get(_key(options))
        if per_pixel is None or not n_images:
            return None
        return per_pixel * _pixels(options) * Schedule(options, n_images).steps

    def _read(self) -> dict[str, float]:
        try:
            data: Any = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(data, Mapping):
            return {}
        return {name: float(value) for name, value in data.items() if isinstance(value, int | float)}


def about(seconds: float) -> str:
    """Return a duration as people say it: "about 4 minutes"."""
    if seconds < 45:
        return f"about {max(round(seconds / 5), 1) * 5} seconds"
    minutes = round(seconds / 60)
    if minutes < 90:
        return "about a minute" if minutes <= 1 else f"about {minutes} minutes"
    return f"about {seconds / 3600:.1f} hours".replace(".0 ", " ")


def _key(options: TrainOptions) -> str:
    return f"{options.device} {options.backbone} {options.output_stride}"


def _pixels(options: TrainOptions) -> int:
    """Of all crops of a step."""
    return options.batch * options.accumulate * options.crop**2
