"""``napari-softseg export``: a trained model to ONNX."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = """Write a trained model as one ONNX file for programs without PyTorch.

Its input is the image, (batch, channels, height, width) float32 with grey values of
0..255: nothing is to be normalised. Its output is the probability of every class,
(batch, classes, height, width). Batch and size are free. Class values and names are
in the file's metadata. The file is compared with PyTorch before it is written."""


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the program."""
    parser = commands.add_parser(
        "export",
        help="write a trained model as ONNX",
        description=DESCRIPTION,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument(
        "model", metavar="MODEL", help="folder of a training run, or a model file (.safetensors)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="file to write, NAME.onnx")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read, export, compare, write; see `napari_softseg.cli.main` for errors and exit codes."""
    from napari_softseg.saving import check_outputs

    output = Path(arguments.output)
    model = Path(arguments.model)
    own = [path for path in model.iterdir() if path.suffix != ".onnx"] if model.is_dir() else [model]
    check_outputs([output], own)

    from napari_softseg.models import export_onnx, load_model

    loaded = load_model(arguments.model)
    difference = export_onnx(loaded.model, output)
    config = loaded.config
    print(f"{arguments.model}: {config.backbone}, classes: {', '.join(config.class_names)}")
    if difference is None:
        print("not compared with PyTorch: onnxruntime is not installed")
    else:
        print(f"largest difference from PyTorch: {difference:.2g}")
    print(f"wrote {output}, {output.stat().st_size / 1e6:.1f} MB")
    return 0
