"""A training step of L_self beside one of partial cross-entropy: same network, same batches, alternating.

``python benchmarks/training_step.py``; with ``--folder DATA --weights PATH`` on annotated images and a
pretrained backbone, whose predictions are those of real training. The network first takes some steps on the
strokes alone, as every training does.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import torch
from cases import strokes
from common import header
from skimage import data

from napari_softseg.models import DeepLabV3Plus, ModelConfig, build_model
from napari_softseg.solver.device import resolve_device
from napari_softseg.training.crops import to_device
from napari_softseg.training.data import Batch, Sample, collate, open_annotated
from napari_softseg.training.losses import TrainingLoss
from napari_softseg.training.network import make_optimiser, set_training_mode
from napari_softseg.training.options import TrainOptions, train_options

DEFAULTS = train_options()

SIZES = ((5, 176, 240), (4, 360, 480))
CLASSES = 11


def photo() -> list[Sample]:
    """Return scikit-image's astronaut with random strokes of 11 classes."""
    image = torch.from_numpy(data.astronaut()).float().movedim(-1, 0)
    seeds = torch.from_numpy(strokes(CLASSES, 512))
    return [Sample("astronaut", image, seeds, None, torch.ones_like(seeds, dtype=torch.bool))]


def window(sample: Sample, height: int, width: int, generator: torch.Generator) -> Sample:
    rows, columns = sample.seeds.shape
    top = int(torch.randint(max(rows - height, 0) + 1, (), generator=generator))
    left = int(torch.randint(max(columns - width, 0) + 1, (), generator=generator))
    return sample.each(lambda plane: plane[..., top : top + height, left : left + width])


def one_step(
    network: DeepLabV3Plus, loss: TrainingLoss, optimiser: torch.optim.Optimizer, batch: Batch, stage: int
) -> tuple[float, float]:
    """Return wall and processor seconds of a whole step: network, loss, gradients, update."""
    if batch.images.is_cuda:
        torch.cuda.synchronize()
    began, busy = time.perf_counter(), time.process_time()
    optimiser.zero_grad()
    loss(network(batch.images), batch, stage=stage).total.backward()
    optimiser.step()
    if batch.images.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - began, time.process_time() - busy


def measure(
    samples: list[Sample], size: tuple[int, int, int], options: TrainOptions, warm: int, steps: int
) -> str:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    device = resolve_device(options.device)
    n_classes = max(CLASSES, *(int(sample.seeds.max()) + 1 for sample in samples))
    names = tuple(f"class {k}" for k in range(n_classes))
    config = ModelConfig(class_values=tuple(range(n_classes)), class_names=names, backbone=options.backbone)
    network = build_model(config, options.weights).to(device)
    set_training_mode(network, options, size[0])
    optimiser, loss = make_optimiser(network, options), TrainingLoss(options, n_classes)

    def batch() -> Batch:
        chosen = torch.randint(len(samples), (size[0],), generator=generator).tolist()
        return to_device(collate([window(samples[i], *size[1:], generator) for i in chosen]), device)

    for _ in range(warm):
        one_step(network, loss, optimiser, batch(), 1)
    for group in optimiser.param_groups:
        group["lr"] *= 0.1
    one_step(network, loss, optimiser, batch(), 2)
    seconds: dict[int, list[tuple[float, float]]] = {1: [], 2: []}
    for step in range(steps):
        same = batch()
        for stage in (1, 2) if step % 2 else (2, 1):
            seconds[stage].append(one_step(network, loss, optimiser, same, stage))
    (pce, pce_busy), (both, both_busy) = (
        [statistics.median(clock) for clock in zip(*seconds[stage], strict=True)] for stage in (1, 2)
    )
    return (
        f"| {size[0]} x 3 x {size[1]} x {size[2]} | {n_classes} | {1000 * pce:.0f} | {1000 * both:.0f} "
        f"| {both / pce:.2f} | {both_busy / pce_busy:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", help="annotated images to take crops from; else a photo of scikit-image")
    parser.add_argument("--unlabelled", type=int, help="value of the folder's pixels without a stroke")
    parser.add_argument("--weights", default="none", help="where the backbone starts")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--loss", default="self", help="what is compared with partial cross-entropy")
    parser.add_argument("--sweeps", type=int, default=DEFAULTS.sweeps, help="of the solver, per batch")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--warm", type=int, default=20, help="steps on the strokes alone, at first")
    parser.add_argument("--steps", type=int, default=10, help="steps of either loss that are measured")
    parser.add_argument("--size", type=int, nargs=3, action="append", metavar=("BATCH", "HEIGHT", "WIDTH"))
    args = parser.parse_args()
    options = train_options(
        loss=args.loss,
        weights=args.weights,
        backbone=args.backbone,
        device=args.device,
        sweeps=args.sweeps,
    )
    samples = photo()
    if args.folder:
        folder = open_annotated(args.folder, unlabelled=args.unlabelled)
        chosen = range(0, len(folder), max(1, len(folder) // 20))
        samples = [replace(folder.load(i), truth=None) for i in chosen]
    print(header("torch", "torchvision", "numba"))
    print(
        f"- {options.backbone}, {options.loss} ({options.relaxation} + {options.cross_entropy}), ",
        end="",
    )
    print(f"{options.sweeps} sweeps; {resolve_device(args.device)}, {torch.get_num_threads()} threads\n")
    print("| batch | K | pce: ms a step | with pseudo-labels: ms | ratio | of processor time |")
    print("|---|---|---|---|---|---|")
    for size in args.size or SIZES:
        print(measure(samples, tuple(size), options, args.warm, args.steps), flush=True)


if __name__ == "__main__":
    main()
