"""Draw the figures of docs/relaxations.md with the solver's own functions.

python scripts/figures.py [--out docs/images] [--only 1,2,3,7]

They follow figures 1, 2, 3 and 7 of Zhang & Boykov, CVPR 2025; what differs is said in the captions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from napari_softseg import solve
from napari_softseg.colors import class_color, soft_composite
from napari_softseg.options import CrossEntropy, Relaxation
from napari_softseg.samples import load_sample
from napari_softseg.solver.cross_entropy import cross_entropy_value
from napari_softseg.solver.relaxations import relaxation_value

Array = npt.NDArray[np.float64]

WIDTH = 10.0  # inches, at 100 dots each
INFINITE = 50.0  # the solver's guard of logarithms caps them at 69
COLORS = dict(zip(Relaxation, ("C1", "C0", "C2", "0.3", "C3", "C4"), strict=True))
DASHES = dict(zip(Relaxation, ("-", "-", (0, (3, 3)), "-", (3, (3, 3)), (0, (1, 3))), strict=True))
SAMPLES = ("astronaut", "coffee")


def main() -> None:
    """Draw what is asked for."""
    figures: dict[str, Callable[[], Figure]] = {
        "1": relaxations_of_two_classes,
        "2": soft_labels_side_by_side,
        "3": cross_entropies,
        "7": pseudo_labels,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--only", default=",".join(figures), help="numbers, separated by commas")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update({"font.size": 9, "axes.titlesize": 10, "savefig.dpi": 100})
    for number in arguments.only.split(","):
        path = arguments.out / f"figure_{number}.png"
        save(figures[number](), path)
        print(f"Wrote {path}")


def relaxations_of_two_classes() -> Figure:
    """Figure 1: P between two labels of two classes, over their logits and over their probabilities."""
    logits = np.linspace(-3, 3, 61)
    shares = np.linspace(0.002, 0.998, 121)
    figure, axes = plt.subplots(4, 3, figsize=(WIDTH, 12.5), layout="constrained")
    for place, name in enumerate(Relaxation):
        row, column = 2 * (place // 3), place % 3
        top = 1.0 if place < 3 else 5.0
        axes[row, column].remove()
        surface = figure.add_subplot(4, 3, 3 * row + column + 1, projection="3d")
        x, y = np.meshgrid(logits, logits)
        z = potts(name, two_classes(sigmoid(2 * x)), two_classes(sigmoid(2 * y)))
        surface.plot_surface(x, y, np.minimum(z, top), cmap="viridis", vmin=0, vmax=top, rstride=2, cstride=2)
        surface.set(zlim=(0, top), xlabel="logit of p", ylabel="logit of q", title=long_name(name))
        surface.view_init(28, -60)
        surface.set_box_aspect((1, 1, 0.8), zoom=0.85)
        flat = axes[row + 1, column]
        x, y = np.meshgrid(shares, shares)
        z = potts(name, two_classes(x), two_classes(y))
        levels = np.linspace(0, 1, 11) if place < 3 else np.linspace(0, 3, 11)
        filled = flat.contourf(x, y, z, levels, cmap="viridis", extend="max")
        flat.contour(x, y, z, levels, colors="white", linewidths=0.5)
        flat.set(aspect="equal", xlabel="p of class 1", ylabel="q of class 1")
        flat.set(xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        if column == 2:
            figure.colorbar(filled, ax=axes[row + 1], label="P(p, q)", ticks=levels[::5])
    return figure


def soft_labels_side_by_side() -> Figure:
    """Figure 2: two cases in which relaxations differ, three classes."""
    t = np.linspace(0, 1, 201)
    zero = np.zeros_like(t)
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 4.2), layout="constrained")
    equal = np.stack([1 - t, t, zero])
    draw_curves(left, t, equal, equal)
    left.set_title("(a) two equal labels, p = q = (1 - t, t, 0)")
    left.set(ylim=(-0.05, 1.1))
    draw_curves(right, t, np.stack([zero + 1, zero, zero]), np.stack([zero, t, 1 - t]))
    right.set_title("(b) p = (1, 0, 0) and q = (0, t, 1 - t), which exclude each other")
    right.set(ylim=(0.5, 3))
    right.text(0.5, 2.88, "CCE and CD: infinite for every t", ha="center", va="top")
    for axes in (left, right):
        axes.set(xlabel="t", ylabel="P(p, q)", xlim=(0, 1))
    left.legend(loc="upper right", ncols=2)
    right.legend(loc=(0.35, 0.55), ncols=2)
    return figure


def draw_curves(axes: Any, t: Array, p: Array, q: Array) -> None:
    """Draw P(p, q) of every relaxation that is finite somewhere; p and q are (3, T)."""
    for name in Relaxation:
        values = potts(name, p, q)
        values[values > INFINITE] = np.nan
        if not np.isnan(values).all():
            # those that coincide are seen by their dashes
            axes.plot(t, values, ls=DASHES[name], color=COLORS[name], lw=3, label=name.upper())


def cross_entropies() -> Figure:
    """Figure 3: H as a function of the prediction, for targets from certain to undecided, and what it does."""
    x = np.linspace(0.005, 0.995, 199)
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 7.5), layout="constrained")
    shades = mpl.colormaps["viridis"]((0.0, 0.3, 0.6, 0.85))
    for place, name in enumerate(CrossEntropy):
        panel = axes.flat[place]
        for certainty, color in zip((1.0, 0.9, 0.7, 0.5), shades, strict=True):
            target = two_classes(np.full_like(x, certainty))
            values = numbers(
                cross_entropy_value(name, torch.from_numpy(target)[None], tensor(two_classes(x)))
            )
            panel.plot(x, values, color=color, lw=2, label=f"y = ({certainty:g}, {1 - certainty:.1g})")
        panel.set(ylim=(0, 4), xlim=(0, 1), xlabel="σ of class 1", ylabel="H(y, σ)")
        panel.set_title(f"({'abc'[place]}) {name.upper()}")
        panel.legend(loc="upper center" if name is CrossEntropy.RCE else "upper right")
    draw_label_noise(axes.flat[3])
    return figure


def draw_label_noise(axes: Any) -> None:
    """Draw accuracy against the share of wrong labels."""
    import label_noise

    for name, results in label_noise.accuracies().items():
        mean, spread = 100 * results.mean(1), 100 * results.std(1, ddof=1)
        print(
            name,
            *(
                f"{share:g}: {m:.1f} ± {s:.1f}"
                for share, m, s in zip(label_noise.SHARES, mean, spread, strict=True)
            ),
        )
        axes.errorbar(label_noise.SHARES, mean, spread, marker="o", ms=4, capsize=3, label=name.upper())
    axes.set(xlabel="share of labels replaced by random ones", ylabel="test accuracy, %", ylim=(0, 100))
    axes.set_title("(d) digits: a small network, 3 seeds, ± 1 s.d.")
    axes.legend(loc="lower left")


def pseudo_labels() -> Figure:
    """Figure 7: soft pseudo-labels of two photos under each relaxation."""
    shape = {"figsize": (WIDTH, 9.1), "height_ratios": (1, 1, 0.69, 0.69)}
    figure, axes = plt.subplots(4, 4, layout="constrained", **shape)
    for place, name in enumerate(SAMPLES):
        sample = load_sample(name)
        colors = [class_color(value) for value in sample.classes]
        solutions = {p: solve(sample.image, sample.scribbles, relaxation=p) for p in Relaxation}
        strokes = sample.scribbles[None] == np.array(list(sample.classes))[:, None, None]
        on_stroke = strokes.any(0)
        painted = sample.image.copy()
        painted[on_stroke] = soft_composite(strokes.astype(np.float32), colors)[on_stroke, :3]
        unary = solutions[Relaxation.CD].unary
        assert unary is not None
        pictures = {"photo and strokes": painted, "first guess σ": soft_composite(unary, colors)}
        for p, solution in solutions.items():
            pictures[f"{p.upper()}: mean entropy {solution.entropy.mean():.3f}"] = soft_composite(
                solution.probabilities, colors
            )
        for panel, (title, picture) in zip(
            axes[2 * place : 2 * place + 2].flat, pictures.items(), strict=True
        ):
            panel.imshow(picture)
            panel.set_title(title)
            panel.set_axis_off()
    return figure


def potts(name: Relaxation, p: Array, q: Array) -> Array:
    """Return P(p, q) of labels (K, ...): the solver's own function, in float64."""
    return numbers(relaxation_value(name, tensor(p), tensor(q)))


def two_classes(x: Array) -> Array:
    """Return the labels (x, 1 - x), classes first."""
    return np.stack([x, 1 - x])


def sigmoid(x: Array) -> Array:
    """Return 1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def tensor(labels: Array) -> torch.Tensor:
    """Return labels (K, ...) as a batch of one."""
    return torch.from_numpy(labels)[None]


def numbers(batch: torch.Tensor) -> Array:
    """Return the one result of a batch."""
    result: Array = batch[0].numpy().copy()
    return result


def long_name(name: Relaxation) -> str:
    """Return the short and the long name."""
    return f"{name.upper()}: {name.explanation.partition(':')[0]}"


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of at most 255 colours: a third of the size, and no difference to the eye."""
    figure.savefig(path)
    plt.close(figure)
    picture = Image.open(path).convert("RGB")
    picture.quantize(255, method=Image.Quantize.MEDIANCUT).save(path, optimize=True)


if __name__ == "__main__":
    main()
