"""Small folders on disk, as the tests need them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

HEIGHT, WIDTH = 6, 8


def photo(seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def strokes(values: dict[int, tuple[int, ...]], unlabelled: int = 255) -> npt.NDArray[np.uint8]:
    """Rows of class values: ``{value: rows}``."""
    drawn = np.full((HEIGHT, WIDTH), unlabelled, np.uint8)
    for value, rows in values.items():
        for row in rows:
            drawn[row, 1:-1] = value
    return drawn


def write(path: Path, pixels: npt.NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, pixels)
    elif path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, pixels, photometric="minisblack")
    else:
        Image.fromarray(pixels).save(path)
    return path


def plain_folder(path: Path, count: int = 3, *, masks: bool = False, unlabelled: int = 255) -> Path:
    """Write images a, b, c, ... with strokes of classes 1 and 2, and masks of 1 above 2."""
    for i in range(count):
        name = f"{'abcdefgh'[i]}.png"
        write(path / "images" / name, photo(i))
        write(path / "scribbles" / name, strokes({1: (1,), 2: (4,)}, unlabelled))
        if masks:
            mask = np.full((HEIGHT, WIDTH), 2, np.uint8)
            mask[:3] = 1
            mask[0, 0] = 255
            write(path / "masks" / name, mask)
    return path
