"""Tiny annotated folders on disk: two textures, with strokes and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_softseg.training.options import TrainOptions, train_options

UNLABELLED = 255
TINY: dict[str, Any] = {
    "backbone": "mobilenet_v3_small",
    "weights": "none",
    "epochs": 4,
    "samples": 4,
    "batch": 2,
    "crop": 48,
    "lr": 0.001,
    "device": "cpu",
    "sweeps": 3,
}
"""Options of runs that take a second or two."""


def tiny(**options: Any) -> TrainOptions:
    return train_options(**{**TINY, **options})


def write_folder(path: Path, n_images: int = 4, channels: int = 3, masks: bool = True) -> Path:
    """Write images whose left part is dark and whose right part is bright, with several strokes of either."""
    rng = np.random.default_rng(0)
    for name in ("images", "scribbles", *(["masks"] if masks else [])):
        (path / name).mkdir(parents=True)
    (path / "classes.txt").write_text("dark\nbright\n")
    for number in range(n_images):
        border = int(rng.integers(24, 40))
        mask = np.zeros((48, 64), np.uint8)
        mask[:, border:] = 1
        pixels = 60 + 120 * mask[..., None] + rng.integers(0, 30, (48, 64, channels))
        scribbles = np.full((48, 64), UNLABELLED, np.uint8)
        for row in (6, 20, 34):
            scribbles[row : row + 2, 4:18] = 0
            scribbles[row : row + 2, 44:60] = 1
        image = pixels.astype(np.uint8)
        Image.fromarray(image[..., 0] if channels == 1 else image).save(path / "images" / f"{number}.png")
        Image.fromarray(scribbles).save(path / "scribbles" / f"{number}.png")
        if masks:
            Image.fromarray(mask).save(path / "masks" / f"{number}.png")
    return path
