"""Soft labels of an image as a file, with how uncertain they are beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile
from scipy.special import entr

from napari_softseg.errors import InputError
from napari_softseg.files import read_unary
from napari_softseg.pixel_size import PixelSize
from napari_softseg.saving import write_soft_tiff

_ENTROPY = "mean_entropy"


def mean_entropy(probabilities: npt.NDArray[np.float32]) -> float:
    """Return the mean over the pixels of (K, H, W) soft labels: 0 certain everywhere, 1 all classes alike."""
    n_classes, *size = probabilities.shape
    if n_classes < 2:
        return 0.0
    total = sum(float(entr(channel).sum(dtype=np.float64)) for channel in probabilities)
    return total / (math.prod(size) * math.log(n_classes))


def write_soft_labels(
    path: Path,
    probabilities: npt.NDArray[np.float32],
    classes: Mapping[int, str],
    pixel_size: PixelSize | None = None,
) -> None:
    """Write (K, H, W) float32 soft labels and their mean entropy as a TIFF.

    Raises
    ------
    InputError
        If they hold what is no probability.
    """
    entropy = mean_entropy(probabilities)
    if not np.isfinite(entropy):
        raise InputError("Expected probabilities from 0 to 1, but the soft labels hold others; solve again.")
    write_soft_tiff(path, probabilities, classes, {_ENTROPY: entropy}, pixel_size)


def read_soft_labels(path: Path, values: list[int]) -> npt.NDArray[np.float32] | None:
    """Return (K, H, W) float32 soft labels, or None if there are none of the classes `values`.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    if not path.is_file() or _metadata(path).get("class_values") != values:
        return None
    return read_unary(path).astype(np.float32, copy=False)


def read_mean_entropy(path: Path, values: list[int]) -> float | None:
    """Return the mean entropy of soft labels without reading them; None if there are none of the classes."""
    metadata = _metadata(path)
    entropy = metadata.get(_ENTROPY)
    return float(entropy) if metadata.get("class_values") == values and isinstance(entropy, float) else None


def _metadata(path: Path) -> dict[str, object]:
    try:
        with tifffile.TiffFile(path) as tif:
            metadata = json.loads(tif.pages.first.description)
    except (OSError, tifffile.TiffFileError, ValueError, IndexError):
        return {}
    return metadata if isinstance(metadata, dict) else {}
