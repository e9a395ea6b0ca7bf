"""What a checkout needs for its commands, its editors and its checks to work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT, run


def test_manifest_is_valid(tmp_path: Path) -> None:
    done = run([sys.executable, "-m", "npe2", "validate", str(ROOT / "napari.yaml")], tmp_path)
    assert "valid!" in done.stdout


@pytest.mark.parametrize("name", ["models", "training"])
def test_links_that_editors_and_mypy_follow(source: Path, name: str) -> None:
    link = source / "napari_softseg" / name
    assert link.is_symlink()
    assert link.resolve() == source / name


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("import models", "TID251"),
        ("from training.losses import loss", "TID251"),
        ("from .solver import solve", "TID252"),
    ],
)
def test_lint_refuses_a_second_import_path(line: str, rule: str) -> None:
    ruff = [sys.executable, "-m", "ruff", "check", "--output-format=concise"]
    done = subprocess.run(
        [*ruff, "--stdin-filename=napari_softseg/cli/example.py", "-"],
        cwd=ROOT,
        input=line,
        capture_output=True,
        text=True,
        check=False,
    )
    assert rule in done.stdout


def test_bootstrap_says_which_python_is_no_use(source: Path) -> None:
    done = subprocess.run(
        [source / "scripts" / "bootstrap.sh", "demo"],
        env=os.environ | {"PYTHON": "/nowhere/python"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "PYTHON=/nowhere/python is no Python 3.11 or newer" in done.stderr
    assert not (source / ".venv").exists()
