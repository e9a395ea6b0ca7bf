"""An image of several blocks whose classes are told apart by colour and texture, on disk and in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from skimage import data

from napari_softseg import Solution, solve

Pixels = npt.NDArray[Any]


def stored(group: Path | str, name: str) -> Pixels:
    """Return an array of a result, whole."""
    return np.asarray(zarr.open_array(Path(group) / name, mode="r")[:])


@dataclass(frozen=True)
class Large:
    """A photo, tiled, with strokes of classes 2, 5 and 9 in one corner of it."""

    image: npt.NDArray[np.uint8]
    scribbles: npt.NDArray[np.uint8]
    whole: Solution
    """Solved in one piece."""


@pytest.fixture(scope="session")
def large() -> Large:
    image = np.tile(data.astronaut()[::2, ::2], (2, 2, 1))[:340, :302]
    scribbles = np.zeros(image.shape[:2], np.uint8)
    scribbles[100:130, 200:210] = 2
    scribbles[20:30, 50:150] = 5
    scribbles[150:165, 100:130] = 9
    scribbles[250:270, 250:280] = 2
    return Large(image, scribbles, solve(image, scribbles, device="cpu"))


@dataclass(frozen=True)
class Files:
    """The same as zarr arrays on disk."""

    folder: Path
    image: Path
    scribbles: Path

    @property
    def out(self) -> Path:
        return self.folder / "out.zarr"

    @property
    def args(self) -> list[str]:
        """Arguments of a block run on the command line, 4 x 4 blocks."""
        where = ["solve", str(self.image), str(self.scribbles), "-o", str(self.folder / "out")]
        return [*where, "--block", "88", "--halo", "32", "--device", "cpu"]

    @property
    def made(self) -> list[str]:
        """Names of what the folder holds besides the inputs."""
        return sorted(p.name for p in self.folder.iterdir() if p not in (self.image, self.scribbles))


@pytest.fixture
def files(tmp_path: Path, large: Large) -> Files:
    found = Files(tmp_path, tmp_path / "image.zarr", tmp_path / "strokes.zarr")
    zarr.create_array(found.image, data=large.image, chunks=(100, 100, 3))
    zarr.create_array(found.scribbles, data=large.scribbles, chunks=(128, 128))
    return found


@pytest.fixture
def make_ome() -> Any:
    """Write an array as OME-Zarr."""

    def make(path: Path, array: Pixels, axes: str, version: str, scale: list[float] | None = None) -> Path:
        group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
        group.create_array("full", data=array)
        group.create_array("half", data=array[..., ::2, ::2] if axes[-1] == "x" else array[::2, ::2])
        kinds = {"c": "channel", "t": "time"}
        transformation = {"type": "scale", "scale": scale or [1.0] * len(axes)}
        unit = {"unit": "micrometer"} if scale else {}
        scales = {
            "axes": [{"name": a, "type": kinds.get(a, "space"), **(unit if a in "yx" else {})} for a in axes],
            "datasets": [
                {"path": path, "coordinateTransformations": [transformation]} for path in ("full", "half")
            ],
        }
        ome: dict[str, Any] = {"version": version, "multiscales": [scales]}
        group.update_attributes(ome if version == "0.4" else {"ome": ome})
        return path

    return make


def assert_same(out: Path, other: Path) -> None:
    """Two runs agree to the last bit."""
    for name in ("0", "labels/classes/0", "done"):
        np.testing.assert_array_equal(stored(out, name), stored(other, name))
