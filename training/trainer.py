"""The steps of one run: batches, losses, scores, and what is saved of them."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from operator import itemgetter
from typing import Any

import torch

from napari_softseg.errors import InputError
from napari_softseg.models import DeepLabV3Plus, save_model
from napari_softseg.models.files import BEST
from napari_softseg.solver.device import is_out_of_memory
from napari_softseg.training.crops import CropSet, to_device
from napari_softseg.training.data import (
    AnnotatedFolder,
    Batch,
    sample_generator,
)
from napari_softseg.training.losses import TrainingLoss
from napari_softseg.training.network import (
    forget_momentum,
    make_optimiser,
    restore,
    set_learning_rate,
    set_training_mode,
    state_tensors,
    take_statistics,
)
from napari_softseg.training.options import BatchNorm, Loss, Precision, TrainOptions, as_json
from napari_softseg.training.processes import MEMORY_FORMAT, Processes
from napari_softseg.training.report.run_log import DIVERGED, FINISHED, STOPPED, Event
from napari_softseg.training.run_folder import RunFolder, State
from napari_softseg.training.schedule import Schedule
from napari_softseg.training.scoring import Scorer, take_pictures

LAST = "last.safetensors"
_PICTURE_EPOCHS = 8
_MOST_OVER_UNINFORMED = 1000.0
_BATCHES_OF_STATISTICS = 8


class Trainer:
    """The steps of one run."""

    def __init__(
        self,
        folder: RunFolder,
        annotated: AnnotatedFolder,
        masks: AnnotatedFolder | None,
        options: TrainOptions,
        processes: Processes,
        network: DeepLabV3Plus,
        loss: TrainingLoss,
        precision: torch.dtype,
    ) -> None:
        self.folder = folder
        self.annotated = annotated
        self.options = options
        self.processes = processes
        self.network = network
        self.wrapped = processes.wrap(network)
        self.optimiser = make_optimiser(network, options)
        self.schedule = Schedule(options, len(annotated), processes.count)
        self.loss = loss
        scored_on_strokes = masks is None and options.loss != Loss.FULL
        self.crops = CropSet(annotated, options, options.held_out if scored_on_strokes else 0.0)
        self.scorer = Scorer(annotated.class_names, masks, self.crops)
        self.precision = precision
        self.scaler = torch.amp.GradScaler(processes.device.type, enabled=self.precision == torch.float16)
        self.best: dict[str, Any] | None = None
        self.sums: dict[str, float] = defaultdict(float)
        self.masks = masks
        self.skipped = [*annotated.skipped, *([] if masks is None else masks.skipped)]

    def run(
        self, state: State | None, stop: threading.Event, stop_after: int | None = None
    ) -> Generator[Event, None, tuple[str, str]]:
        """Yield events; return status and message."""
        schedule, options = self.schedule, self.options
        first_epoch, step = 0, 0
        if state is not None:
            restore(self.network, self.optimiser, state.tensors)
            first_epoch, step, self.best = state.epoch, state.step, state.best
            self.sums = defaultdict(float, state.sums)
            if state.scaler:
                self.scaler.load_state_dict(state.scaler)
        yield self._start_event(step)
        began, first_step = time.perf_counter(), step
        for epoch in range(first_epoch, options.epochs):
            if epoch == stop_after:
                return STOPPED, f"stopped after epoch {epoch} of {options.epochs}; --resume goes on"
            if self._enough(epoch):
                return FINISHED, f"ended after {epoch} of {options.epochs} epochs: the score no longer rose"
            epoch_began = time.perf_counter()
            draws = schedule.batches(epoch, self.processes.number, step - epoch * schedule.steps_per_epoch)
            batches = self.crops.batches(draws, self._workers)
            set_training_mode(self.network, options, self.processes.crops_in_a_statistic(options.batch))
            while step < (epoch + 1) * schedule.steps_per_epoch:
                if self.processes.any(stop.is_set()):
                    return self._stopped(epoch, step)
                values, cause = self._step(epoch, step, batches)
                if cause:
                    return DIVERGED, _why_diverged(cause, epoch, step, options)
                for name, value in values.items():
                    self.sums[name] += value
                step += 1
                spent = (time.perf_counter() - began) / (step - first_step)
                yield {
                    "event": "step",
                    "epoch": epoch + 1,
                    "step": step,
                    "steps": schedule.steps,
                    "loss": values["loss"],
                    "terms": _terms(values),
                    "lr": schedule.learning_rate(step - 1),
                    "eta_s": spent * (schedule.steps - step),
                }
            if not all(bool(parameter.isfinite().all()) for parameter in self.network.parameters()):
                return DIVERGED, _why_diverged("weights became nan or infinite", epoch, step - 1, options)
            if options.batch_norm == BatchNorm.FEW:
                self._take_statistics(epoch)
            event = self._end_epoch(epoch, step, stop, epoch_began)
            if event is None:
                return self._stopped(epoch, step)
            yield event  # into the log before the state counts the epoch as done
            self.sums.clear()
            self._save(epoch + 1, step, event["val"])
            self._take_pictures(epoch + 1)
        return FINISHED, f"finished {options.epochs} epoch{'s' * (options.epochs > 1)}"

    def _enough(self, done: int) -> bool:
        """Return whether so many epochs of the last stage have not come up to the best score that it ends."""
        options = self.options
        if options.early_stop is None or done % options.val_every:
            return False
        first_stage = self.schedule.warmup_epochs % options.epochs  # all of them are the last stage, too
        since = done if self.best is None else max(self.best["epoch"], first_stage)
        return self.processes.any(self.processes.first and done - since >= options.early_stop)

    def _start_event(self, step: int) -> Event:
        return {
            "event": "start",
            "run": str(self.folder.path),
            "epochs": self.options.epochs,
            "step": step,
            "steps": self.schedule.steps,
            "options": as_json(self.options),
            "classes": class_list(self.annotated),
            "device": str(self.processes.device),
            "processes": self.processes.count,
            "images": len(self.annotated),
            "skipped": [list(one) for one in self.skipped],
            "warnings": self.annotated.warnings,
            "val_images": 0 if self.masks is None else len(self.masks),
        }

    @property
    def _workers(self) -> int:
        if self.options.workers is not None:
            return self.options.workers
        return 4 if self.processes.device.type == "cuda" else 0

    def _step(self, epoch: int, step: int, batches: Any) -> tuple[dict[str, float], str]:
        """Take one step of the optimiser, unless the loss has diverged.

        Returns
        -------
        dict
            The loss and its terms, means over what the step saw.
        str
            How it has diverged; empty if it has not.
        """
        options, schedule = self.options, self.schedule
        if schedule.restarts_at(step):
            forget_momentum(self.optimiser)
        set_learning_rate(self.optimiser, schedule.learning_rate(step))
        # dropout follows from the step alone, so that a run that goes on repeats it
        seed = sample_generator(options.seed, 2**31 + step, self.processes.number).initial_seed()
        torch.manual_seed(seed)
        self.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, float] = defaultdict(float)
        stage = schedule.stage(epoch)
        together = [to_device(next(batches), self.processes.device) for _ in range(options.accumulate)]
        counts = torch.stack([self.loss.counts(batch, stage=stage) for batch in together]).mean(0)
        counts = self.processes.mean(counts)
        for number, batch in enumerate(together):
            with ExitStack() as stack:
                if number + 1 < options.accumulate:
                    stack.enter_context(self.processes.keep_gradients(self.wrapped))
                try:
                    values = self._backward(batch, stage, counts)
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    raise InputError(self._what_would_fit(batch)) from None
            for name, value in values.items():
                sums[name] += value / options.accumulate
        cause = _beyond_bounds(sums, self.loss.uninformed(counts, stage=stage))
        if not cause:
            self.scaler.step(self.optimiser)
            self.scaler.update()
        return sums, cause

    def _take_statistics(self, epoch: int) -> None:
        """Take the statistics of batch normalisation from the epoch's first crops, as the network is now."""
        device = self.processes.device
        draws = self.schedule.batches(epoch, self.processes.number)[:_BATCHES_OF_STATISTICS]
        images = (to_device(batch, device).images for batch in self.crops.batches(draws, self._workers))
        with torch.autocast(device.type, self.precision, enabled=self.precision != torch.float32):
            take_statistics(self.network, (batch.contiguous(memory_format=MEMORY_FORMAT) for batch in images))

    def _backward(self, batch: Batch, stage: int, counts: torch.Tensor | None = None) -> dict[str, float]:
        device = self.processes.device
        with torch.autocast(device.type, self.precision, enabled=self.precision != torch.float32):
            logits = self.wrapped(batch.images.contiguous(memory_format=MEMORY_FORMAT))
        loss = self.loss(logits, batch, stage=stage, counts=counts)
        self.scaler.scale(loss.total / self.options.accumulate).backward()
        names = sorted(loss.terms)
        values = self.processes.mean(
            torch.tensor([float(loss.total.detach()), *(loss.terms[name] for name in names)], device=device)
        )
        return dict(zip(["loss", *names], values.tolist(), strict=True))

    def _stopped(self, epoch: int, step: int) -> tuple[str, str]:
        self._save(epoch, step)
        return STOPPED, f"stopped in epoch {epoch + 1} of {self.options.epochs}; --resume goes on"

    def _end_epoch(self, epoch: int, step: int, stop: threading.Event, began: float) -> Event | None:
        """Score, and keep the best model; return None if it was stopped while scoring."""
        options, done = self.options, epoch + 1
        val = None
        best = False
        means = {name: value / self.schedule.steps_per_epoch for name, value in self.sums.items()}
        if self.processes.first:
            last = done == options.epochs
            if last or done % options.val_every == 0:
                # others would wait for a first process that stops here
                heeded = stop if self.processes.count == 1 else threading.Event()
                val = self.scorer.score(self.network, self.processes.device, heeded)
                if heeded.is_set():
                    return None
            # the last of equals: few held-out strokes cannot tell epochs apart, but more training helps
            best = val is not None and (self.best is None or val["miou"] >= self.best["miou"])
            if val is not None and best:
                self.best = {"epoch": done, "miou": val["miou"]}
            if best or self.best is None:
                self._save_model(BEST, done, val)
        return {
            "event": "epoch",
            "epoch": done,
            "loss": means["loss"],
            "terms": _terms(means),
            "val": val,
            "seconds": time.perf_counter() - began,
            "best": best,
        }

    def _take_pictures(self, done: int) -> None:
        """Write pictures after some of the epochs, the last one included."""
        epochs = self.options.epochs
        if self.processes.first and done * _PICTURE_EPOCHS // epochs > (done - 1) * _PICTURE_EPOCHS // epochs:
            take_pictures(
                self.folder.path,
                done,
                self.network,
                self.crops,
                self.loss,
                self.processes.device,
            )

    def _save(self, epoch: int, step: int, val: dict[str, Any] | None = None) -> None:
        """Save the latest model with its score, where it has one, and all that going on needs."""
        if not self.processes.first:
            return
        self._save_model(LAST, epoch, val)
        if not (self.folder.path / BEST).exists():
            self._save_model(BEST, epoch, val)
        self.folder.save_state(
            State(
                state_tensors(self.network, self.optimiser),
                epoch,
                step,
                self.best,
                dict(self.sums),
                self.scaler.state_dict(),
            )
        )

    def _save_model(self, name: str, epoch: int, val: dict[str, Any] | None) -> None:
        details = {"epoch": epoch, "val": val, "training": as_json(self.options)}
        save_model(self.folder.path / name, self.network, details)

    def _what_would_fit(self, batch: Batch) -> str:
        """Try smaller batches, and say which one fits."""
        device = self.processes.device
        size = len(batch.images)
        if self.processes.count > 1:  # the others are elsewhere: nothing can be tried without them
            return (
                f"The memory of {device} does not hold a batch of {size} crops of {self.options.crop}; start again "
                "in another folder with a smaller --batch and more --accumulate."
            )
        smaller = size // 2
        while smaller >= 1:
            self.optimiser.zero_grad(set_to_none=True)
            if device.type == "cuda":
                torch.cuda.empty_cache()
            try:
                self._backward(batch.each(itemgetter(slice(smaller))), 2)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                smaller //= 2
                continue
            return (
                f"The memory of {device} does not hold a batch of {size} crops of {self.options.crop}; "
                f"{smaller} fit: start again in another folder with --batch {smaller} "
                f"--accumulate {self.options.accumulate * -(-size // smaller)}."
            )
        return (
            f"The memory of {device} does not hold a single crop of {self.options.crop}; "
            f"choose a smaller --crop, or --backbone mobilenet_v2."
        )


def class_list(annotated: AnnotatedFolder) -> list[dict[str, Any]]:
    """Return value and name of every class, as JSON can hold them."""
    return [
        {"value": value, "name": name}
        for value, name in zip(annotated.class_values, annotated.class_names, strict=True)
    ]


def _terms(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if name != "loss"}


def _beyond_bounds(values: Mapping[str, float], uninformed: float) -> str:
    """Return how a loss has diverged; an empty text if it has not.

    A network can be wrong by more than one that knows nothing, but a thousand times that takes weights that
    no step brings back. What Potts adds does not hang on the network, and is bounded.
    """
    terms = _terms(values)
    if not math.isfinite(values["loss"]):
        guilty = ", ".join(name for name, value in terms.items() if not math.isfinite(value))
        return f"the loss became {values['loss']} ({guilty or 'its sum'})"
    of_network = {name: value for name, value in terms.items() if name != "potts"}
    total = sum(of_network.values())
    if total <= _MOST_OVER_UNINFORMED * uninformed:
        return ""
    return (
        f"the loss grew to {total:.3g} ({max(of_network, key=lambda name: of_network[name])}; a network that "
        f"knows nothing has {uninformed:.3g})"
    )


def _why_diverged(cause: str, epoch: int, step: int, options: TrainOptions) -> str:
    return (
        f"{cause} in epoch {epoch + 1}, step {step + 1}; start again in another folder with a smaller --lr "
        f"than {options.lr:g}; the models of the epochs before are kept"
    )


def autocast_type(name: str, device: torch.device) -> torch.dtype:
    """Return the type that the network computes in; InputError if the device has none of that name."""
    if name == Precision.AUTO:
        return torch.bfloat16 if _has_bf16(device) else torch.float32
    if name == Precision.FP16 and device.type != "cuda":
        raise InputError(f"Precision fp16 needs a CUDA device, but this is {device}; choose fp32 or bf16.")
    types: dict[str, torch.dtype] = {
        Precision.FP32: torch.float32,
        Precision.FP16: torch.float16,
        Precision.BF16: torch.bfloat16,
    }
    return types[name]


def _has_bf16(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 itself: without that it is slower, not faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
