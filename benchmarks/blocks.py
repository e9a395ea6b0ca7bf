"""Images solved by blocks beside the same in one piece, and the memory that takes.

``python benchmarks/blocks.py seams`` prints how far blocks are from one piece, by halo and by distance to the
nearest seam, and draws it to docs/images/block_seams.png. ``python benchmarks/blocks.py memory`` holds the
formula of the memory bound against the peak of child processes. ``python benchmarks/blocks.py large SIDE``
solves a SIDE x SIDE image that exists on disk only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import zarr
from common import ROOT, header
from skimage import data

from napari_softseg import solve
from napari_softseg.blocks import solve_blocks
from napari_softseg.blocks.tiling import bytes_per_pixel, memory_of

BLOCK = 256
HALOS = (0, 16, 32, 64, 128, 256)
TILE = 512
FULL = slice(None)


def photo() -> tuple[np.ndarray, np.ndarray]:
    """A natural image and strokes of three classes in one part of it."""
    image = np.tile(data.astronaut(), (2, 2, 1))[:1000, :1000]
    strokes = np.zeros(image.shape[:2], np.uint8)
    strokes[200:260, 400:420], strokes[40:60, 100:300], strokes[300:330, 200:260] = 1, 2, 3
    return image, strokes


def flat() -> tuple[np.ndarray, np.ndarray]:
    """The worst case: two smooth ramps without edges or noise, where everything reaches far."""
    y, x = np.mgrid[:1000, :1000] / 1000
    image = (255 * np.stack([x, y, (x + y) / 2], axis=-1)).astype(np.uint8)
    strokes = np.zeros((1000, 1000), np.uint8)
    strokes[60:80, 100:300], strokes[480:500, 480:700], strokes[900:920, 700:900] = 1, 2, 3
    return image, strokes


def seam_distance(size: tuple[int, int], block: int) -> np.ndarray:
    """Return every pixel's distance to the nearest edge of a block inside the image."""

    def along(n: int) -> np.ndarray:
        seams = np.arange(block, n, block)
        return np.abs(np.arange(n)[:, None] + 0.5 - seams).min(axis=1)

    return np.minimum(along(size[0])[:, None], along(size[1])[None])


def seams() -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    print(header("torch", "numpy", "scikit-learn", "zarr"))
    print(
        f"- 1000 x 1000 RGB, K = 3, blocks of {BLOCK}, default options; difference of a pixel: the largest of"
    )
    print("  its classes' probabilities; every row against the same image solved in one piece")
    print()
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), sharey=True)
    for panel, (name, (image, strokes)) in zip(
        axes, {"photo": photo(), "ramps": flat()}.items(), strict=True
    ):
        whole = solve(image, strokes)
        exact = solve(image, strokes, tolerance=1e-5, max_sweeps=1000)
        distance = seam_distance(strokes.shape, BLOCK)
        at, away = distance < 8, distance >= 64
        print(
            f"| {name}: halo | mean, at seams (8 px) | mean, 64 px away | 99.9 % below | > 0.1 | other label | s |"
        )
        print("|---|---|---|---|---|---|---|")
        for halo, reference, options in [
            *((halo, whole, {}) for halo in HALOS),
            (128, exact, {"tolerance": 1e-5, "max_sweeps": 1000}),
        ]:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder, "o.zarr")
                found = solve_blocks(image, strokes, out, block=BLOCK, halo=halo, **options)
                off = np.abs(found.probabilities(FULL, FULL) - reference.probabilities).max(axis=0)
                other = (found.labels[:] != reference.labels).mean()
            label = f"{halo}, both to tolerance 1e-5" if options else str(halo)
            print(_row(label, off, at, away, other) + f" {found.seconds:.1f} |", flush=True)
            bins = np.arange(0, BLOCK // 2 + 1, 4)
            sums = np.histogram(distance, bins, weights=off)[0] / np.histogram(distance, bins)[0]
            panel.semilogy(bins[:-1] + 2, sums, label=f"halo {label}")
        off = np.abs(whole.probabilities - exact.probabilities).max(axis=0)
        print(
            _row("one piece, against tolerance 1e-5", off, at, away, (whole.labels != exact.labels).mean()),
            "|\n",
        )
        panel.axhline(off.mean(), color="k", ls=":", label="one piece: what its tolerance leaves open")
        panel.set(title=name, xlabel="pixels to the nearest seam")
    axes[0].set_ylabel("mean difference to one piece")
    figure.tight_layout(rect=(0, 0, 0.77, 1))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="center right", fontsize=8)
    figure.savefig(ROOT / "docs" / "images" / "block_seams.png", dpi=110)


def _row(name: str, off: np.ndarray, at: np.ndarray, away: np.ndarray, other: float) -> str:
    return (
        f"| {name} | {off[at].mean():.4f} | {off[away].mean():.4f} | {np.quantile(off, 0.999):.3f} "
        f"| {(off > 0.1).mean():.4%} | {other:.3%} |"
    )


def texture(top: int, left: int, channels: int) -> np.ndarray:
    """Return a tile of a plane without end: slow waves and noise."""
    y, x = np.ogrid[top : top + TILE, left : left + TILE]
    waves = 128 + 60 * np.sin(y / 137) * np.cos(x / 151)
    noise = np.random.default_rng([top, left]).integers(-12, 13, (TILE, TILE, channels))
    return np.clip(waves[..., None] + noise, 0, 255).astype(np.uint8)


def write_input(folder: Path, size: tuple[int, int], channels: int, classes: int) -> tuple[Path, Path]:
    """Write image and strokes tile by tile."""
    image = zarr.create_array(
        folder / "image.zarr", shape=(*size, channels), chunks=(TILE, TILE, channels), dtype="u1"
    )
    for top in range(0, size[0], TILE):
        for left in range(0, size[1], TILE):
            rows, columns = min(TILE, size[0] - top), min(TILE, size[1] - left)
            image[top : top + rows, left : left + columns] = texture(top, left, channels)[:rows, :columns]
    strokes = zarr.create_array(folder / "strokes.zarr", shape=size, chunks=(TILE, TILE), dtype="u1")
    for k in range(classes):
        top, left = 40 + 60 * (k % 12), 30 + 400 * (k // 12)
        strokes[top : top + 6, left : left + 120] = k + 1
    return folder / "image.zarr", folder / "strokes.zarr"


def solved_in_a_child(image: Path, strokes: Path, options: dict[str, object]) -> dict[str, float]:
    """Solve in a process of its own; return its peak memory in bytes, its seconds, and the blocks."""
    out = image.parent / "out.zarr"
    code = (
        "import json, resource, sys, time, threading\n"
        "from napari_softseg.blocks import solve_blocks, open_image, open_scribbles\n"
        "image, strokes, out, options = sys.argv[1:]\n"
        "r = solve_blocks(open_image(image), open_scribbles(strokes), out, **json.loads(options))\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(json.dumps({'peak': peak * 1024, 'seconds': r.seconds, 'blocks': r.blocks, 'block': r.block}))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, image, strokes, out, json.dumps(options)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(ran.stdout)
    return found


def memory() -> None:
    print(header("torch", "numpy", "scikit-learn", "zarr"))
    print()
    print("| block and halo | classes | channels | neighbours | bound MB | peak MB | share |")
    print("|---|---|---|---|---|---|---|")
    cases = [
        (512, 2, 1, "grid4"),
        (1024, 3, 3, "grid4"),
        (2048, 2, 1, "grid4"),
        (2048, 3, 3, "grid8"),
        (1024, 21, 3, "grid4"),
        (1024, 3, 3, "sn"),
        (2048, 8, 3, "grid4"),
    ]
    for side, classes, channels, neighborhood in cases:
        with tempfile.TemporaryDirectory() as folder:
            image, strokes = write_input(Path(folder), (side, 2 * side), channels, classes)
            options = {"block": side, "halo": 0, "memory": "100 GB", "device": "cpu", "max_sweeps": 5}
            found = solved_in_a_child(image, strokes, {**options, "neighborhood": neighborhood})
        bound = memory_of(side, 0, 1, bytes_per_pixel(classes, channels, neighborhood))
        print(
            f"| {side} | {classes} | {channels} | {neighborhood} | {bound / 1e6:.0f} | {found['peak'] / 1e6:.0f} "
            f"| {found['peak'] / bound:.2f} |",
            flush=True,
        )


def large(side: int, limit: str, classes: int) -> None:
    print(header("torch", "numpy", "scikit-learn", "zarr"))
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        image, strokes = write_input(Path(folder), (side, side), 1, classes)
        print(f"- {side} x {side} uint8, K = {classes}, written in {time.perf_counter() - began:.0f} s")
        found = solved_in_a_child(image, strokes, {"memory": limit, "device": "cpu"})
        size = sum(p.stat().st_size for p in Path(folder, "out.zarr").rglob("*") if p.is_file())
    whole = side * side * (4 * 6 * classes)
    print(
        f"- {found['blocks']} blocks of {found['block']} in {found['seconds']:.0f} s, "
        f"{found['seconds'] / side**2 * 1e9:.0f} ns a pixel; memory {limit}, peak {found['peak'] / 1e9:.2f} GB "
        f"(6 arrays (K, H, W) of the whole: {whole / 1e9:.0f} GB); result {size / 1e6:.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("seams")
    commands.add_parser("memory")
    big = commands.add_parser("large")
    big.add_argument("side", type=int, nargs="?", default=20000)
    big.add_argument("--memory", default="3 GB")
    big.add_argument("--classes", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.command == "large":
        large(arguments.side, arguments.memory, arguments.classes)
    else:
        {"seams": seams, "memory": memory}[arguments.command]()


if __name__ == "__main__":
    main()
