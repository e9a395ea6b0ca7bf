"""The distributions, built once, and the wheel installed where nothing of the checkout is in reach."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

Run = Callable[[Sequence[str | Path]], str]


def run(command: Sequence[str | Path], folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `command` in `folder` with no Python path of ours; fail the test, with its output, if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=folder, env=environment | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the files git knows or would know: no build leftovers, which can hide a missing file."""
    target = tmp_path_factory.mktemp("source") / "napari-softseg"
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], ROOT).stdout
    for name in filter(None, listed.split("\0")):
        origin, copy = ROOT / name, target / name
        if origin.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin, copy, follow_symlinks=False)
    return target


@pytest.fixture(scope="session")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist and, from the sdist alone, the wheel: what people get from an index."""
    target = tmp_path_factory.mktemp("built")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", target, source], target)
    return target


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    """The wheel that was built from the sdist."""
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def direct_wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from the checkout, as ``pip install .`` does."""
    target = tmp_path_factory.mktemp("direct")
    run([sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", target, source], target)
    (path,) = target.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel in a fresh environment and return that environment's ``bin``.

    The dependencies are links to those of the running environment, all but this
    project's own editable install: what imports there comes from the wheel.
    """
    folder = tmp_path_factory.mktemp("installed")
    dependencies = folder / "dependencies"
    dependencies.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        ours = "napari_softseg" in entry.name
        if not ours and entry.suffix != ".pth":
            (dependencies / entry.name).symlink_to(entry)
    venv.create(folder / "environment")
    binaries = folder / "environment" / "bin"
    python = str(binaries / "python")
    asked = run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder)
    Path(asked.stdout.strip(), "dependencies.pth").write_text(f"{dependencies}\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install"]
    run([*pip, "--quiet", "--no-deps", "--no-index", wheel], folder)
    return binaries


@pytest.fixture
def run_installed(installed: Path, tmp_path: Path) -> Run:
    """Run Python code, given as arguments, with the installed wheel and from an empty folder."""

    def execute(arguments: Sequence[str | Path]) -> str:
        return run([installed / "python", *arguments], tmp_path).stdout

    return execute
