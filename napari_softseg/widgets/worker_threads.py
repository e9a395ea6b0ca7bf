"""How many threads of the CPU the viewer's solves use; set in the GUI thread, applied in the workers."""

import os

_wanted = 0


def set_threads(count: int) -> None:
    """Let solves that begin from now on use so many threads; 0 leaves one core to the window.

    With all of them busy the event loop waits up to three times as long.
    """
    global _wanted
    _wanted = count


def apply_threads() -> None:
    """Make it so for the thread that calls; torch is loaded here, so it is none of the GUI's."""
    import torch

    count = _wanted or max(1, (os.cpu_count() or 2) - 1)
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)
