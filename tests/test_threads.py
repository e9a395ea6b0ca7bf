"""PyTorch works alone where it is asked to, and nowhere else."""

from __future__ import annotations

import threading

import torch

from napari_softseg.threads import alone


def test_alone_in_this_block_of_this_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    elsewhere: list[int] = []
    try:
        with alone():
            assert torch.get_num_threads() == 1
            other = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
            other.start()
            other.join()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert elsewhere == [3]
