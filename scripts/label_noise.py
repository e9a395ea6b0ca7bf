"""How well the three cross-entropies learn from labels of which a share is wrong.

The paper's figure 3 (d) asks this of ResNet-18 on photos of natural scenes. Here the question is put to a small
network on scikit-learn's 1797 handwritten digits, which need no download: the same rule, a tiny case.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from napari_softseg.options import CrossEntropy
from napari_softseg.solver.cross_entropy import cross_entropy_value

N_CLASSES = 10
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9)
SEEDS = (0, 1, 2)
STEPS, BATCH, RATE = 1000, 64, 1e-3


def accuracies() -> dict[CrossEntropy, npt.NDArray[np.float64]]:
    """Return, for every cross-entropy, the test accuracy: (len(SHARES), len(SEEDS)) in 0..1."""
    return {
        name: np.array([[accuracy(name, share, seed) for seed in SEEDS] for share in SHARES])
        for name in CrossEntropy
    }


def accuracy(name: CrossEntropy, share: float, seed: int) -> float:
    """Train once and return the accuracy on the third of the digits that was held back.

    A `share` of the training labels is replaced by a random class; as nobody knows which, every target is
    ``share * uniform + (1 - share) * one-hot``, which says so. Data, noise and start depend on `seed` alone, so
    that the cross-entropies see the same ones.
    """
    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        digits.data / 16, digits.target, test_size=1 / 3, random_state=seed, stratify=digits.target
    )
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(train_y)) < share
    observed = np.where(wrong, rng.integers(N_CLASSES, size=len(train_y)), train_y)
    target = share / N_CLASSES + (1 - share) * np.eye(N_CLASSES)[observed]

    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, N_CLASSES))
    x, y = _float(train_x), _float(target)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    for _ in range(STEPS):
        rows = torch.randint(len(x), (BATCH,))
        loss = cross_entropy_value(name, y[rows], network(x[rows]).softmax(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return float((network(_float(test_x)).argmax(1).numpy() == test_y).mean())


def _float(array: npt.NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(array).float()
