"""A small photo with strokes on disk, and a way to run the program on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from napari_softseg.cli import main


@dataclass(frozen=True)
class Run:
    """What one run of the program did."""

    code: int
    out: str
    err: str


RunProgram = Callable[..., Run]


@dataclass(frozen=True)
class Case:
    """A dark and a bright half with a stroke of class 3 and one of class 7, 0 elsewhere."""

    folder: Path
    pixels: npt.NDArray[np.uint8]
    strokes: npt.NDArray[np.uint8]

    @property
    def image(self) -> Path:
        return self.folder / "photo.png"

    @property
    def scribbles(self) -> Path:
        return self.folder / "strokes.png"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def args(self) -> list[str]:
        """Arguments of a plain solve."""
        return ["solve", str(self.image), str(self.scribbles), "-o", str(self.out)]

    @property
    def written(self) -> list[str]:
        """Names of what the folder holds besides the inputs."""
        return sorted(p.name for p in self.folder.iterdir() if p not in (self.image, self.scribbles))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """Write the case to an empty folder."""
    pixels = np.full((24, 32, 3), 30, np.uint8)
    pixels[:, 16:] = (200, 180, 40)
    pixels += np.random.default_rng(0).integers(0, 9, pixels.shape, dtype=np.uint8)
    strokes = np.zeros((24, 32), np.uint8)
    strokes[4:20, 4:6] = 3
    strokes[4:20, 26:28] = 7
    found = Case(tmp_path, pixels, strokes)
    Image.fromarray(pixels).save(found.image)
    Image.fromarray(strokes).save(found.scribbles)
    return found


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> RunProgram:
    """Run the program in this process."""

    def run_program(*args: str | Path) -> Run:
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Run(code, captured.out, captured.err)

    return run_program
