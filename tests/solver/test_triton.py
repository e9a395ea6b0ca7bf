"""The fused CUDA sweep. Every test has a process of its own: Triton decides at import where it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CASES = Path(__file__).with_name("triton_cases.py")
INTERPRETED = {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        cwd=CASES.parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("environment", [INTERPRETED] + [{}] * torch.cuda.is_available())
def test_agrees_with_the_reference(environment: dict[str, str]) -> None:
    ran = run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(CASES), **environment)
    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from napari_softseg.solver.kernels import triton_tiles
from napari_softseg.solver.kernels.triton_sweep import tile_of

kernel = triton_tiles.sweep_tile
types = dict.fromkeys(kernel.arg_names, "*fp32") | {"free": "*u8", "offsets": "*i64"}
types |= dict.fromkeys(("n_pixels", "n_classes", "n_offsets"), "i32")
types |= dict.fromkeys(("eta", "lambda_", "tolerance"), "fp32")
types |= dict.fromkeys(("P", "H", "CLASSES", "PIXELS"), "constexpr")
for relaxation in range(6):
    for cross_entropy, capability in (None, 80), (2, 90):
        classes, pixels = tile_of(4, relaxation, cross_entropy)
        constants = {"P": relaxation, "H": cross_entropy, "CLASSES": classes, "PIXELS": pixels}
        source = ASTSource(fn=kernel, signature=types, constexprs=constants)
        options = {"num_warps": 4, "enable_fp_fusion": True}
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
        assert len(made.asm["cubin"]) > 1000
        assert made.metadata.shared <= 48 * 1024
print("compiled")
"""


def test_compiles_for_gpus_that_are_not_here(tmp_path: Path) -> None:
    """The interpreter lets pass what the compiler does not: types, shapes, control flow."""
    ran = run("-c", COMPILE, TRITON_CACHE_DIR=str(tmp_path))
    assert ran.stdout == "compiled\n", ran.stderr


READY = """
import logging, sys
logging.basicConfig(level=logging.WARNING, format="%(message)s")
{before}
from napari_softseg.solver.kernels.triton_sweep import ready
from tests.solver.sweeps import random_problem
print([ready(random_problem(0, (3, 4), k, relaxation=p)) for k in (2, 3) for p in ("cd", "lq")])
"""


@pytest.mark.parametrize(
    "before", ["sys.modules['triton'] = None", ""], ids=["no Triton", "a device it cannot use"]
)
def test_where_triton_is_no_use_it_says_so_once(before: str) -> None:
    ran = run("-c", READY.format(before=before), CUDA_VISIBLE_DEVICES="")
    assert ran.stdout == "[False, False, False, False]\n", ran.stderr
    assert ran.stderr.count("Triton cannot be used") == 1


def test_interpreted_kernel_is_ready() -> None:
    ran = run("-W", "ignore", "-c", READY.format(before=""), **INTERPRETED)
    assert (ran.stdout, ran.stderr) == ("[True, True, True, True]\n", "")
