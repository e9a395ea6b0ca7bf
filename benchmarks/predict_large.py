"""Prediction of images larger than memory: what it takes, and how far tiles are from one pass.

``python benchmarks/predict_large.py large SIDE`` predicts a SIDE x SIDE image that exists on disk only, in a
child process whose peak memory is compared with what it took after loading the model, and holds a crop of the
result against the same pixels in one pass. ``python benchmarks/predict_large.py seams`` prints how far tiles are
from one pass by their halo. Both take --model RUN; without it the network has random weights, scaled so that all
of its parts matter.
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
import torch
import zarr
from blocks import TILE, texture
from common import ROOT, header
from skimage import data

from napari_softseg.blocks.source import as_plane
from napari_softseg.blocks.tiling import Window
from napari_softseg.models import DeepLabV3Plus, load_model, save_model
from napari_softseg.solver.intensity import AS_IT_IS
from napari_softseg.training.pools import given_pools
from napari_softseg.training.predict import HALO, TiledNetwork

sys.path.insert(0, str(ROOT))

CROP = 256
HALOS = (0, 128, 256, 288, 320, 352, 384, 448)
CLASSES = 11

CHILD = """
import json, resource, sys, threading, time
from napari_softseg.models import load_model
from napari_softseg.blocks import open_image
from napari_softseg.solver.solution import drain
from napari_softseg.training.predict_blocks import iter_predict_blocks

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

model, image, out, options = sys.argv[1:]
network = load_model(model).model
before = resident()
began, used = time.perf_counter(), time.process_time()
found = drain(iter_predict_blocks(network, open_image(image), out, **json.loads(options)))
with open("/proc/self/status") as file:  # ru_maxrss would begin with the parent's
    peak = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
print(json.dumps({"before": before, "peak": peak, "seconds": time.perf_counter() - began,
                  "used": time.process_time() - used,
                  "blocks": found.blocks, "block": found.block, "halo": found.halo}))
"""


def network_of(path: str | None) -> DeepLabV3Plus:
    if path is not None:
        return load_model(path).model
    from tests.training.networks import random_network

    return random_network(values=tuple(range(CLASSES)))


def write_image(path: Path, side: int) -> zarr.Array:
    image = zarr.create_array(path, shape=(side, side, 3), chunks=(TILE, TILE, 3), dtype="u1")
    photo = data.astronaut()
    for top in range(0, side, TILE):
        for left in range(0, side, TILE):
            rows, columns = min(TILE, side - top), min(TILE, side - left)
            mixed = (texture(top, left, 3).astype(np.uint16) + photo) // 2
            image[top : top + rows, left : left + columns] = mixed[:rows, :columns].astype(np.uint8)
    return image


def large(side: int, model: str | None, tile: int | None, halo: int | None, around: int) -> None:
    print(header("torch", "numpy", "zarr"))
    network = network_of(model)
    options = {"device": "cpu"}
    options |= {} if tile is None else {"tile": tile}
    options |= {} if halo is None else {"halo": halo}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        weights, path, out = (Path(folder, name) for name in ("m.safetensors", "i.zarr", "o.zarr"))
        save_model(weights, network, {})
        image = write_image(path, side)
        print(
            f"- {network.config.backbone}, K = {len(network.config.class_values)}; {side} x {side} RGB uint8 in a"
        )
        print(f"  zarr array, written in {time.perf_counter() - began:.0f} s", flush=True)
        ran = subprocess.run(
            [sys.executable, "-c", CHILD, weights, path, out, json.dumps(options)],
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            sys.exit(ran.stderr)
        found = json.loads(ran.stdout)
        size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
        print(
            f"- {found['blocks']} tiles of {found['block']} with a halo of {found['halo']} in "
            f"{found['seconds']:.0f} s, of the\n  processor {found['used']:.0f} s: "
            f"{found['used'] / side**2 * 1e6:.2f} us a pixel\n"
            f"- memory: {found['before'] / 1e9:.2f} GB with the model loaded, peak {found['peak'] / 1e9:.2f} GB: "
            f"{(found['peak'] - found['before']) / 1e9:.2f} GB more; result {size / 1e6:.0f} MB on disk"
        )
        compare(network, image, zarr.open_group(out, mode="r"), found["block"], around)


def compare(network: DeepLabV3Plus, image: zarr.Array, result: zarr.Group, block: int, around: int) -> None:
    """Hold the pixels around a corner of four tiles against one pass over them and all around."""
    side = image.shape[0]
    corner = (side // block // 2) * block or side // 2
    inner = Window(corner - CROP // 2, corner + CROP // 2, corner - CROP // 2, corner + CROP // 2)
    outer = inner.widened(around // 16 * 16, (side, side))
    pixels = torch.from_numpy(image[outer.slices]).float().permute(2, 0, 1)[None]
    pools = result.attrs.asdict().get("napari-softseg-pools", [])
    pools = [torch.tensor(mean).reshape(-1, 1, 1) for mean in pools]
    tiled = np.asarray(result["0"][:, *inner.slices], np.float32) / 255
    print(
        f"- the {CROP} x {CROP} pixels around a corner of four tiles, against one pass over {pixels.shape[-1]} x"
    )
    print(
        f"  {pixels.shape[-2]} pixels (the largest difference of a pixel's probabilities; rounding is 0.002):"
    )
    for name, given in (("with the pools of the whole image", pools), ("with pools of its own", None)):
        with torch.inference_mode(), given_pools(network, given):
            whole = network(pixels, inner.inside(outer))[0].softmax(0).numpy()
        print("  - " + name + ": " + _differences(tiled, whole))


def _differences(tiled: np.ndarray, whole: np.ndarray) -> str:
    off = np.abs(tiled - whole).max(axis=0)
    other = (tiled.argmax(0) != whole.argmax(0)).mean()
    return (
        f"mean {off.mean():.5f}, 99.9 % below {np.quantile(off, 0.999):.4f}, largest {off.max():.4f}, "
        f"other label {other:.3%}"
    )


def seams(model: str | None, folder: str | None) -> None:
    print(header("torch", "numpy"))
    network = network_of(model)
    tiles = [data.astronaut()[:360, :480], data.coffee()[:360, :480], data.chelsea()[:300, :451]]
    if folder is not None:
        from napari_softseg.files import read_image

        tiles = [read_image(path) for path in sorted(Path(folder).iterdir())[:12]]
    height, width = (min(t.shape[axis] for t in tiles) for axis in (0, 1))
    image = np.concatenate(
        [
            np.concatenate([tiles[(3 * r + c) % len(tiles)][:height, :width] for c in range(3)], 1)
            for r in range(4)
        ]
    )
    plane = as_plane(image)
    window = Window(0, plane.size[0], 0, plane.size[1])
    print(
        f"- {network.config.backbone}; {plane.size[0]} x {plane.size[1]} RGB in tiles of 512, against one pass\n"
    )

    def predicted(tile: int, halo: int, own_pools: bool = False) -> np.ndarray:
        tiled = TiledNetwork(network, plane, AS_IT_IS, torch.device("cpu"), tile, halo)
        tiled.pools = [] if own_pools else None
        with tiled.ready():
            return tiled.probabilities(window)

    whole = predicted(max(plane.size), 0)
    print("| halo | difference of a pixel's probabilities |")
    print("|---|---|")
    for halo in HALOS:
        print(f"| {halo} | {_differences(predicted(512, halo), whole)} |", flush=True)
    print(f"| {HALO}, every tile with pools of its own | {_differences(predicted(512, HALO, True), whole)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    big = commands.add_parser("large")
    big.add_argument("side", type=int, nargs="?", default=20000)
    big.add_argument("--tile", type=int)
    big.add_argument("--halo", type=int)
    big.add_argument("--around", type=int, default=640, help="pixels around the crop that one pass sees")
    cut = commands.add_parser("seams")
    cut.add_argument("--images", help="folder of images to put together, instead of scikit-image's")
    for command in (big, cut):
        command.add_argument("--model", help="RUN or model file")
    arguments = parser.parse_args()
    if arguments.command == "large":
        large(arguments.side, arguments.model, arguments.tile, arguments.halo, arguments.around)
    else:
        seams(arguments.model, arguments.images)


if __name__ == "__main__":
    main()
