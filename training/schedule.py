"""What happens at which step: crops, stage and learning rate, all of it a function of the options alone.

Nothing here remembers anything, so that a run that goes on after an interruption repeats it exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_softseg.training.options import Loss, TrainOptions

HEAD_FACTOR = 10.0
"""Learning rate of ASPP and decoder over that of the backbone (Chen et al. 2018; paper, appendix C)."""
_POWER = 0.9


@dataclass(frozen=True, slots=True)
class Draw:
    """One crop of an epoch: which image, and the numbers its randomness follows from."""

    image: int
    epoch: int
    position: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps of a run.

    Parameters
    ----------
    options
        Of the run.
    n_images
        Images in the folder.
    processes
        That train together, each on its share of every step.
    """

    options: TrainOptions
    n_images: int
    processes: int = 1

    @property
    def crops_per_step(self) -> int:
        """Of all processes and accumulated batches together."""
        return self.options.batch * self.options.accumulate * self.processes

    @property
    def steps_per_epoch(self) -> int:
        """At least one; the last one of an epoch is filled up."""
        return -(-max(self.n_images, self.options.samples) // self.crops_per_step)

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.options.epochs * self.steps_per_epoch

    @property
    def warmup_epochs(self) -> int:
        """Epochs of the first stage; all, or none, where there is one stage only."""
        if self.options.loss == Loss.PCE:
            return self.options.epochs
        if self.options.loss == Loss.FULL:
            return 0
        return round(self.options.warmup * self.options.epochs)

    def stage(self, epoch: int) -> int:
        """Return 1, strokes alone, or 2, the loss of the options."""
        return 1 if epoch < self.warmup_epochs else 2

    def learning_rate(self, step: int) -> float:
        """Return the backbone's rate at a step of the run: polynomial decay, by step."""
        options, first = self.options, self.warmup_epochs * self.steps_per_epoch
        if not options.restart or first in (0, self.steps):
            begin, end, rate = 0, self.steps, options.lr
        elif step < first:
            begin, end, rate = 0, first, options.lr
        else:
            begin, end, rate = first, self.steps, options.lr_self
        return float(rate * (1 - (step - begin) / (end - begin)) ** _POWER)

    def restarts_at(self, step: int) -> bool:
        """Return whether the optimiser forgets its momentum before this step."""
        return self.options.restart and step == self.warmup_epochs * self.steps_per_epoch

    def batches(self, epoch: int, process: int = 0, first_step: int = 0) -> list[list[Draw]]:
        """Return the batches of one process in an epoch, `accumulate` of them per step.

        Images come in random order, every image once before any comes again.

        Parameters
        ----------
        epoch
            From 0.
        process
            Its number, from 0.
        first_step
            Steps of the epoch that are left out because they are done.
        """
        needed = self.steps_per_epoch * self.crops_per_step
        rng = np.random.default_rng((self.options.seed, epoch))
        order = [int(i) for _ in range(-(-needed // self.n_images)) for i in rng.permutation(self.n_images)]
        draws = [Draw(image, epoch, position) for position, image in enumerate(order[:needed])]
        size = self.options.batch
        batches = [draws[start : start + size] for start in range(0, needed, size)]
        return batches[process :: self.processes][first_step * self.options.accumulate :]
