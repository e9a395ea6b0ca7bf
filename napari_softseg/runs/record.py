"""What is kept of how a run was started, beside the snapshot it trains on."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from napari_softseg.runs.processes import ProcessId
from napari_softseg.saving import replacing

FILE = "process.json"


@dataclass(frozen=True, slots=True)
class Record:
    """The latest process of a run."""

    process: ProcessId
    options: Mapping[str, Any]
    """Fields of TrainOptions that were chosen; the others are the preset's."""
    log_size: int = 0
    """Bytes of the run's log before this process: as long as it has as many, the process said nothing."""
    began: float = field(default_factory=time.time)
    """Seconds since 1970 when the run was first started."""


def write_record(folder: Path, record: Record) -> None:
    """Write it, whole or not at all."""
    with replacing(folder / FILE) as (temporary,):
        temporary.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")


def read_record(folder: Path) -> Record | None:
    """Return what is known, None if there is nothing that can be read."""
    try:
        data = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Record(
            ProcessId(**data["process"]), dict(data["options"]), int(data["log_size"]), float(data["began"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
