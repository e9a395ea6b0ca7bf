"""How the compiled code of the fused CPU sweep is kept on disk, built again, and done without."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SOLVE = """
import logging, numpy as np
logging.basicConfig(level=logging.WARNING, format="%(message)s")
{before}
from napari_softseg import solve
rng = np.random.default_rng(0)
image = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
strokes = np.zeros((40, 50), np.uint8)
strokes[3:6, 5:20], strokes[30:33, 20:40] = 1, 2
for _ in range(2):
    found = solve(image, strokes, device="cpu", unary=np.full((2, 40, 50), 0.5)).probabilities
np.save({out!r}, found)
"""


SWEEPS = """
import numpy as np, torch
from napari_softseg.solver.kernels.numba_sweep import NumbaSweep, ready
from tests.solver.sweeps import PAIRS, random_problem
assert ready()
found = []
for relaxation, cross_entropy in PAIRS:
    problem = random_problem(0, (30, 41), 5, relaxation=relaxation, cross_entropy=cross_entropy)
    state = NumbaSweep(problem, problem.start())
    for _ in range(8):
        state.sweep([0.5])
        state.advance()
    found.append(state.labels())
np.save({out!r}, torch.stack(found).numpy())
"""


def solved(tmp_path: Path, before: str, **environment: str) -> tuple[np.ndarray, str]:
    """Solve in a process of its own; return the result and what it said."""
    out = tmp_path / "found.npy"
    ran = subprocess.run(
        [sys.executable, "-c", SOLVE.format(before=before, out=str(out))],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return np.load(out), ran.stderr


def test_without_numba_pytorch_solves_and_says_so_once(tmp_path: Path) -> None:
    with_it, said = solved(tmp_path, "")
    assert said == ""
    without, said = solved(tmp_path, "import sys; sys.modules['numba'] = None")
    assert said.count("Numba cannot be used") == 1
    np.testing.assert_allclose(with_it, without, atol=0.01)
    switched_off, said = solved(tmp_path, "", NUMBA_DISABLE_JIT="1")
    assert said.count("Numba cannot be used (NUMBA_DISABLE_JIT is set)") == 1
    np.testing.assert_array_equal(switched_off, without)


def test_fresh_code_and_code_from_disk_agree_to_the_last_bit(tmp_path: Path) -> None:
    """A run that is killed and resumed loads the code that its first part compiled."""
    out, environment = tmp_path / "labels.npy", {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    found = []
    for _ in ("compiles", "loads"):
        subprocess.run([sys.executable, "-c", SWEEPS.format(out=str(out))], env=environment, check=True)
        found.append(np.load(out))
    assert any((tmp_path / "cache").rglob("*solve_rows*.nbc"))
    assert np.array_equal(*found)


def test_nowhere_to_keep_compiled_code(tmp_path: Path) -> None:
    expected, _ = solved(tmp_path, "")
    nowhere = "from numba.core import caching; caching.CodeLibraryCacheImpl._locator_classes = []"
    found, said = solved(tmp_path, nowhere, NUMBA_CACHE_DIR="")
    assert said == ""
    assert np.array_equal(expected, found)


def test_compiled_code_is_as_old_as_all_it_is_made_of() -> None:
    """Numba looks at the kernel's own file only; the stamp it is given covers what the kernel calls."""
    from napari_softseg.solver.kernels import numba_compile, numba_rows

    stamp = numba_rows.solve_rows._cache._cache_file._source_stamp
    assert stamp == numba_compile._stamp(numba_rows.__file__)
    folder = Path(numba_compile.__file__).parent
    for name in (*numba_compile._PARTS, "numba_rows.py"):
        called = re.findall(
            r"^from napari_softseg\.solver\.kernels\.(\w+) import", (folder / name).read_text(), re.M
        )
        assert {f"{part}.py" for part in called} <= set(numba_compile._PARTS)


def test_damaged_compiled_code_is_rebuilt(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    expected, _ = solved(tmp_path, "", NUMBA_CACHE_DIR=str(cache))
    files = [path for path in cache.rglob("*") if path.suffix in (".nbi", ".nbc")]
    assert any("solve_rows" in path.name for path in files)
    for number, path in enumerate(files):
        whole = path.read_bytes()
        path.write_bytes((whole[: len(whole) // 2], b"x" * 100, b"")[number % 3])
    again, _ = solved(tmp_path, "", NUMBA_CACHE_DIR=str(cache))
    assert np.array_equal(expected, again)
    _, said = solved(tmp_path, "", NUMBA_CACHE_DIR=str(cache))
    assert said == ""


SAME_KERNELS = """
import threading
from napari_softseg.solver.kernels import numba_sweep
{before}
answers = []
threads = [threading.Thread(target=lambda: answers.append(numba_sweep.ready())) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(answers)
"""


@pytest.mark.parametrize(("before", "expected"), [("", [True] * 3), ("numba_sweep.prepare()", [False] * 3)])
def test_who_waits_for_the_compiler(tmp_path: Path, before: str, expected: list[bool]) -> None:
    """All threads of a run solve with the same kernels; a viewer's do not wait for them."""
    ran = subprocess.run(
        [sys.executable, "-c", SAME_KERNELS.format(before=before)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == str(expected)
