"""Small batches with strokes, masks and padding, for tests of losses."""

from __future__ import annotations

import torch
from torch import Tensor

from napari_softseg.training.data import Batch


def random_batch(
    seed: int = 0,
    *,
    size: tuple[int, int, int] = (2, 6, 7),
    n_classes: int = 3,
    strokes: float = 0.2,
    padding: int = 0,
) -> Batch:
    """Noise with a soft step in it; `strokes` is the share of pixels with one, `padding` a number of columns."""
    generator = torch.Generator().manual_seed(seed)
    images = 40 * torch.rand(size[0], 3, *size[1:], generator=generator)
    images[..., size[2] // 2 :] += 30
    classes = torch.randint(0, n_classes, size, generator=generator)
    valid = torch.ones(size, dtype=torch.bool)
    valid[..., size[2] - padding :] = False
    kept = valid & (torch.rand(size, generator=generator) < strokes)
    truth = torch.where(valid & (torch.rand(size, generator=generator) < 0.9), classes, -1)
    return Batch(images=images, seeds=torch.where(kept, classes, -1), valid=valid, truth=truth)


def random_logits(batch: Batch, n_classes: int = 3, seed: int = 1, sharpness: float = 2.0) -> Tensor:
    """Float64, (B, K, H, W), a leaf."""
    b, h, w = batch.seeds.shape
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(b, n_classes, h, w, generator=generator, dtype=torch.float64)
    return logits.requires_grad_()
