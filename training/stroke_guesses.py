"""What the strokes of an image say of its other pixels, beside the network that learns from them.

The viewer's pixel classifier (:mod:`napari_softseg.unary.classifier`) knows one image alone, and that one well;
the network knows all of them, and each a little. Pseudo-labels that start from both are better than from either:
docs/training.md has figures. The classifier sees an image once, before zoom and crop; its answer is kept as a file.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from napari_softseg.saving import replacing
from napari_softseg.solver.relaxations import CLASS_DIM
from napari_softseg.training.data.samples import NO_CLASS, Sample
from napari_softseg.unary.classifier import classify_strokes

TRUST_IN_STROKES = 0.5
"""Exponent of the strokes' distribution in the geometric mean; the network's has the rest."""

_TINY = 1e-6
"""What the network gives any class at least, in the logarithm."""


class StrokeGuesses:
    """The classifier's distributions of a run's images, half a float for every pixel and class with a stroke.

    Parameters
    ----------
    folder : Path
        Where they are kept, made with the first of them. Several processes may use it at a time.
    n_classes : int
        K.
    """

    def __init__(self, folder: Path, n_classes: int) -> None:
        self._folder = folder
        self._n_classes = n_classes

    def of(self, sample: Sample) -> Tensor:
        """Return (K, H, W) float16: positive for classes that have a stroke, 0 for all others.

        All 0 where fewer than two classes have one: nothing can be told from nothing.
        """
        guess = torch.zeros(self._n_classes, *sample.seeds.shape, dtype=torch.float16)
        drawn = sample.seeds[sample.seeds != NO_CLASS].unique()
        if len(drawn) > 1:
            guess[drawn] = torch.from_numpy(self._planes(sample, drawn.numpy()))
        return guess

    def forget(self) -> None:
        """Remove all files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _planes(self, sample: Sample, drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
        image = np.ascontiguousarray(sample.image.permute(1, 2, 0).numpy())
        seeds = np.ascontiguousarray(sample.seeds.numpy())
        digest = blake2b(image.data, digest_size=16)
        digest.update(seeds.data)
        path = self._folder / f"{digest.hexdigest()}.npy"  # other pixels or strokes are another image
        with suppress(OSError, ValueError, EOFError):  # not there yet, or spoilt: found anew
            kept: npt.NDArray[np.float16] = np.load(path, allow_pickle=False)
            if kept.shape == (len(drawn), *seeds.shape):
                return kept
        planes = classify_strokes(image, seeds, self._n_classes)[drawn].astype(np.float16)
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as (temporary,), temporary.open("wb") as file:
            np.save(file, planes)
        return planes


def network_and_guess(sigma: Tensor, guess: Tensor) -> Tensor:
    """Return what the network says and what the strokes say as one class distribution.

    Of the classes with strokes it is the geometric mean of both, which follows the surer one. Classes without a
    stroke in the image may be there all the same: they keep what the network gives them.

    Parameters
    ----------
    sigma : (B, K, H, W) float tensor
        The network's distributions.
    guess : (B, K, H, W) float tensor
        From :meth:`StrokeGuesses.of`; need not sum to 1.

    Returns
    -------
    (B, K, H, W) tensor of sigma's dtype
        Sums to 1 over K.
    """
    drawn = guess > 0
    of_network = sigma.clamp_min(_TINY).log()
    weighed = of_network.lerp(guess.to(sigma.dtype).log(), TRUST_IN_STROKES)
    # where no class has a stroke all are -inf, and softmax would give nan
    shares = weighed.masked_fill(~drawn, -torch.inf).softmax(CLASS_DIM)
    theirs = torch.where(drawn, sigma, 0).sum(CLASS_DIM, keepdim=True)
    return torch.where(drawn, theirs * shares, sigma)
