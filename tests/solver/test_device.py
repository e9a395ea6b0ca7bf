"""A device whose memory does not suffice. The errors are PyTorch's own, raised where a device would."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Generator

import numpy as np
import pytest
import torch

from napari_softseg.solver import Problem, SolveProgress, drain, grid_edges, iter_majorize_minimize
from napari_softseg.solver.device import in_its_memory, is_out_of_memory
from napari_softseg.solver.majorize_minimize import Minimum

CUDA = torch.device("cuda")
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8.00 GiB."),
    RuntimeError("Triton Error [CUDA]: out of memory"),
    RuntimeError("MPS backend out of memory"),
]


class Attempts:
    """Solves, but the memory of anything but the CPU is full after a few sweeps."""

    def __init__(self, error: Exception) -> None:
        self.devices: list[str] = []
        self._error = error
        self._held: weakref.ref[Problem] | None = None

    def __call__(self, device: torch.device) -> Generator[SolveProgress, None, Minimum]:
        assert self._held is None or self._held() is None, "the failed attempt still holds its memory"
        self.devices.append(device.type)
        seeds = torch.full((1, 20, 30), -1)
        seeds[0, 4], seeds[0, 15] = 0, 1
        problem = Problem(seeds=seeds, edges=grid_edges(torch.zeros(1, 3, 20, 30), "grid4", 9.0), n_classes=2)
        self._held = weakref.ref(problem)
        for step, progress in enumerate(run := iter_majorize_minimize(problem)):
            yield progress
            if device.type != "cpu" and step == 2:
                run.close()
                raise type(self._error)(*self._error.args)  # a new one: it keeps the frames alive
        return drain(iter_majorize_minimize(problem))


@pytest.mark.parametrize("error", FULL, ids=str)
def test_solves_on_the_cpu_and_says_so_once(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    attempts = Attempts(error)
    with caplog.at_level(logging.WARNING):
        found = drain(in_its_memory(attempts, CUDA))
    assert attempts.devices == ["cuda", "cpu"]
    assert [record.getMessage() for record in caplog.records] == [
        "Solving on the CPU, slower: the memory of device cuda does not suffice."
    ]
    assert found.labels[0, 0, 4].min() == 1


def test_other_errors_and_a_full_cpu_are_not_hidden() -> None:
    attempts = Attempts(RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(RuntimeError, match="illegal memory access"):
        drain(in_its_memory(attempts, CUDA))
    assert attempts.devices == ["cuda"]

    def full(_device: torch.device) -> Generator[SolveProgress, None, Minimum]:
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        drain(in_its_memory(full, torch.device("cpu")))


def test_a_full_computer_is_recognised() -> None:
    for make in (torch.empty, np.empty):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            make(2**50)
        assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))
