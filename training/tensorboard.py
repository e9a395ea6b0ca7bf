"""The events of a run as TensorBoard logs.

tensorboardX rather than torch.utils.tensorboard: the latter needs the whole TensorBoard
server (gRPC, a web server, Markdown) wherever something is trained; tensorboardX writes
the same files and needs protobuf alone. Whoever looks at them installs ``tensorboard``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tensorboardX import SummaryWriter

FOLDER = "tensorboard"


class TensorBoardLog:
    """Writes what ``log.jsonl`` gets into ``RUN/tensorboard`` as well; use it as a context.

    A run that goes on after an interruption may repeat steps; what was written of
    those before is hidden by TensorBoard.

    Parameters
    ----------
    run
        Folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self._folder = run / FOLDER
        self._writer: SummaryWriter | None = None
        self._step = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def add(self, event: Mapping[str, Any]) -> None:
        """Write the numbers of a "step" or "epoch" event; others have none.

        Steps go over the steps of the run, epochs are placed at their last step.
        """
        if event["event"] == "step":
            self._step = event["step"]
            self._write("step", {"loss": event["loss"], "lr": event["lr"], **_named("term", event["terms"])})
        elif event["event"] == "epoch":
            scalars = {"loss": event["loss"], **_named("term", event["terms"])}
            val = event["val"]
            if val is not None:
                scalars |= {"val/miou": val["miou"], "val/pixel_accuracy": val["pixel_accuracy"]}
                scalars |= _named("val_iou", val["iou"])
            self._write("epoch", scalars)
            if self._writer is not None:
                self._writer.flush()

    def close(self) -> None:
        """Flush and close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, group: str, scalars: Mapping[str, float | None]) -> None:
        if self._writer is None:  # made late: the first step says from where on older events are void
            # The step in the name as well: tensorboardX names files by the second.
            self._writer = SummaryWriter(
                str(self._folder), purge_step=self._step, filename_suffix=f".{self._step}"
            )
        for name, value in scalars.items():
            if value is not None and math.isfinite(value):
                self._writer.add_scalar(f"{group}/{name}", value, self._step)


def _named(group: str, values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {f"{group}/{name}": value for name, value in values.items()}
