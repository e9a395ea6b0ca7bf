"""Samples load offline and their strokes give soft labels that look right."""

from __future__ import annotations

import socket
from typing import NoReturn

import numpy as np
import pytest

from napari_softseg import solve
from napari_softseg.errors import InputError
from napari_softseg.samples import SAMPLE_NAMES, load_sample

# (x, y) of pixels that no stroke touches, and what is there.
KNOWN = {
    "astronaut": {
        (220, 60): "head",
        (420, 100): "shuttle",
        (30, 100): "flag",
        (100, 380): "suit",
        (480, 200): "background",
    },
    "coffee": {
        (300, 160): "coffee",
        (280, 50): "cup",
        (120, 260): "saucer",
        (380, 300): "spoon",
        (520, 60): "table",
    },
    "cat": {(165, 120): "eyes", (265, 245): "nose", (180, 20): "fur", (420, 150): "background"},
    "tissue": {(60, 140): "gland", (300, 450): "gland", (250, 270): "stroma", (330, 120): "lumen"},
}


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_a_sample_loads_without_the_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> NoReturn:
        raise AssertionError("a sample opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    sample = load_sample(name)
    assert sample.image.dtype == sample.scribbles.dtype == np.uint8
    assert sample.image.shape == (*sample.scribbles.shape, 3)
    assert np.unique(sample.scribbles).tolist() == [0, *sample.classes]
    assert 0.01 < (sample.scribbles > 0).mean() < 0.15


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_the_strokes_lead_to_the_right_classes(name: str) -> None:
    sample = load_sample(name)
    labels = solve(sample.image, sample.scribbles).labels
    found = {(x, y): sample.classes[labels[y, x]] for x, y in KNOWN[name]}
    assert found == KNOWN[name]


def test_an_unknown_sample_lists_the_names() -> None:
    with pytest.raises(
        InputError, match=r"Unknown sample 'dog'; choose one of: astronaut, coffee, cat, tissue\."
    ):
        load_sample("dog")
