"""How good predictions are: one confusion matrix over a data set, and what follows from it.

The protocol of PASCAL VOC and of Zhang & Boykov (2025): pixels of all images are counted together, pixels
without truth are left out, and the mean is over the classes that occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_Floats = npt.NDArray[np.float64]


class Confusion:
    """Counts of pixels by true and predicted class.

    Parameters
    ----------
    n_classes : int
        K.

    Attributes
    ----------
    matrix : (K, K) int64 array
        Row: true class, column: predicted class. The sum of such matrices is that of several data sets, or
        of the parts that several processes saw.
    """

    def __init__(self, n_classes: int) -> None:
        self.matrix: npt.NDArray[np.int64] = np.zeros((n_classes, n_classes), dtype=np.int64)

    def update(self, prediction: Tensor | npt.NDArray[Any], truth: Tensor | npt.NDArray[Any]) -> None:
        """Count the pixels of one or more images.

        Parameters
        ----------
        prediction : array or tensor of ints, any shape
            Class index 0..K-1.
        truth : array or tensor of ints, same shape
            Class index 0..K-1; pixels with a negative one are left out.

        Raises
        ------
        ValueError
            If the shapes differ or an index is K or more.
        """
        said, true = torch.as_tensor(prediction).long(), torch.as_tensor(truth).long()
        if said.shape != true.shape:
            raise ValueError(
                f"Expected prediction and truth of one shape, but got {tuple(said.shape)} "
                f"and {tuple(true.shape)}."
            )
        counted = true >= 0
        said, true = said[counted], true[counted]
        if not said.numel():
            return
        n = len(self.matrix)
        lowest, highest = int(said.min()), max(int(said.max()), int(true.max()))
        if lowest < 0 or highest >= n:
            wrong = lowest if lowest < 0 else highest
            raise ValueError(f"Expected class indices from 0 to {n - 1}, but got {wrong}.")
        counts = torch.bincount(true * n + said, minlength=n * n)
        self.matrix = self.matrix + counts.reshape(n, n).cpu().numpy()

    @property
    def iou(self) -> _Floats:
        """(K,) intersection over union; nan for a class neither in the truth nor predicted."""
        both = np.diag(self.matrix)
        return _ratio(both, self.matrix.sum(axis=0) + self.matrix.sum(axis=1) - both)

    @property
    def miou(self) -> float:
        """Mean of `iou` over the classes that have one; nan without any."""
        return _mean(self.iou)

    @property
    def class_accuracy(self) -> _Floats:
        """(K,) share of a class's true pixels that are predicted as it (recall); nan where it has none."""
        return _ratio(np.diag(self.matrix), self.matrix.sum(axis=1))

    @property
    def pixel_accuracy(self) -> float:
        """Share of all counted pixels whose class is right; nan without any."""
        return float(_ratio(np.trace(self.matrix), self.matrix.sum()))

    def report(self, class_names: Sequence[str]) -> dict[str, Any]:
        """Return all figures as JSON values, None for what is nan; per class by name.

        Returns
        -------
        dict
            ``miou``, ``iou``, ``pixel_accuracy``, ``class_accuracy``, and ``confusion``: a row per true class.
        """
        return {
            "miou": _number(self.miou),
            "iou": dict(zip(class_names, map(_number, self.iou), strict=True)),
            "pixel_accuracy": _number(self.pixel_accuracy),
            "class_accuracy": dict(zip(class_names, map(_number, self.class_accuracy), strict=True)),
            "confusion": self.matrix.tolist(),
        }


def _ratio(part: npt.ArrayLike, whole: npt.ArrayLike) -> _Floats:
    """Return part / whole, nan where the whole is 0."""
    result: _Floats = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=result, where=np.asarray(whole) > 0)
    return result


def _mean(values: _Floats) -> float:
    found = values[~np.isnan(values)]
    return float(found.mean()) if found.size else float("nan")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
