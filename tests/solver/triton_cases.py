"""What the fused CUDA sweep must do: run by test_triton.py, on CUDA or in Triton's interpreter on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from napari_softseg.options import Relaxation
from napari_softseg.solver.kernels.torch_sweep import TorchSweep
from napari_softseg.solver.kernels.triton_sweep import TritonSweep
from napari_softseg.solver.problem import Problem
from tests.solver import sweeps
from tests.solver.sweeps import PAIRS, cropped_problem, far_edges, random_labels, random_problem

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

# NumPy computes both branches of every where
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton.runtime.interpreter")


def check_sweeps(problem: Problem, start: Tensor) -> None:
    on_device = problem.to(DEVICE, torch.float32)
    sweeps.check_sweeps(TritonSweep, on_device, start.to(DEVICE))


@pytest.mark.parametrize(("relaxation", "cross_entropy"), PAIRS)
def test_agrees_with_the_reference(relaxation: str, cross_entropy: str) -> None:
    # two tiles, the second not full
    problem = random_problem(0, (7, 19), 3, batch=2, relaxation=relaxation, cross_entropy=cross_entropy)
    check_sweeps(problem, random_labels(problem, 1))


@pytest.mark.parametrize("relaxation", list(Relaxation))
def test_without_a_unary(relaxation: str) -> None:
    problem = random_problem(1, (7, 14), 5, sigma=None, relaxation=relaxation, neighborhood="grid8")
    check_sweeps(problem, random_labels(problem, 2, sharpness=6))


@pytest.mark.parametrize("n_classes", [2, 21, 256])
@pytest.mark.parametrize(("relaxation", "cross_entropy"), [("cd", "cce"), ("lq", "ce"), ("bl", "rce")])
def test_any_number_of_classes_and_padding(n_classes: int, relaxation: str, cross_entropy: str) -> None:
    valid = torch.rand(1, 3, 7, generator=torch.Generator().manual_seed(0)) < 0.7
    changes: dict[str, Any] = {"relaxation": relaxation, "cross_entropy": cross_entropy, "valid": valid}
    problem = random_problem(7, (3, 7), n_classes, **changes)
    check_sweeps(problem, random_labels(problem, 8))


@pytest.mark.parametrize(("lambda_", "sharpness"), [(0.0, 0.0), (30.0, 8.0)])
@pytest.mark.parametrize(("relaxation", "cross_entropy"), [("cd", "cce"), ("q", "ce"), ("lq", "rce")])
def test_extreme_labels_and_weights(
    lambda_: float, sharpness: float, relaxation: str, cross_entropy: str
) -> None:
    changes: dict[str, Any] = {"relaxation": relaxation, "cross_entropy": cross_entropy, "lambda_": lambda_}
    problem = random_problem(5, (4, 9), 9, **changes)
    check_sweeps(problem, random_labels(problem, 6, sharpness))


def test_far_offsets() -> None:
    problem = random_problem(3, (12, 70), 3, edges=far_edges(12, 70))
    check_sweeps(problem, problem.start())


def test_window_of_a_larger_image() -> None:
    check_sweeps(*cropped_problem())


def test_repeats_to_the_last_bit_and_leaves_the_start_alone() -> None:
    problem = random_problem(11, (9, 40), 5, batch=2).to(DEVICE, torch.float32)
    start = random_labels(problem.to(torch.device("cpu"), torch.float32), 12).to(DEVICE)
    kept = start.clone()
    runs = []
    for _ in range(2):
        state = TritonSweep(problem, start)
        for _ in range(3):
            terms, moved = state.sweep([0.3] * 2)
            state.advance()
        runs.append((terms, moved, state.labels()))
    assert torch.equal(start, kept)
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first, second)


def test_restart_returns_to_the_labels() -> None:
    problem = random_problem(9, (8, 40), 3, batch=2)
    start = random_labels(problem, 1).to(DEVICE)
    problem = problem.to(DEVICE, torch.float32)
    fused = TritonSweep(problem, start)
    still = [0.0] * 2
    fused.sweep([0.9] * 2)
    fused.advance()
    ahead, _ = fused.sweep(still)
    fused.restart(torch.tensor([True, False], device=DEVICE))
    back, _ = fused.sweep(still)
    expected, _ = TorchSweep(problem, fused.labels()).sweep(still)
    torch.testing.assert_close(back[0], expected[0], rtol=1e-5, atol=1e-3)
    assert torch.equal(back[1], ahead[1])
    labels, terms = fused.settle()
    torch.testing.assert_close(labels.sum(1).cpu(), torch.ones(2, 8, 40), rtol=0, atol=3e-7)
    assert torch.equal(labels[:, 0][~problem.free], start[:, 0][~problem.free])
    expected, _ = TorchSweep(problem, labels).sweep(still)
    torch.testing.assert_close(terms, expected, rtol=1e-5, atol=1e-3)
