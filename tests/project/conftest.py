from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_softseg.project import Project, ProjectClass, create_project

CLASSES = (ProjectClass(1, "sky", (1, 2, 3)), ProjectClass(4, "tree", (40, 50, 60)))
PHOTO = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
STROKES = np.zeros((6, 8), np.uint8)
STROKES[1, 2:5] = 1
STROKES[4, 1:7] = 4


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(PHOTO).save(path)
    return path


@pytest.fixture
def project(tmp_path: Path, photo: Path) -> Iterator[Project]:
    with create_project(tmp_path / "project", CLASSES, settings={"eta": 0.3}) as made:
        made.add_image(photo, scribbles=STROKES)
        yield made
