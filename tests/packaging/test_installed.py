"""The installed wheel, from another folder: found by napari, and light where it has to be."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.packaging.conftest import Run, run

GUI = {"qtpy", "napari", "magicgui", "superqt", "vispy", "PyQt5", "PyQt6", "PySide2", "PySide6"}


def test_the_copy_under_test_is_the_wheel(run_installed: Run, installed: Path) -> None:
    code = "from napari_softseg import errors, models, training; print(errors.__file__, models, training)"
    assert run_installed(["-c", code]).count(str(installed.parent)) == 3


def test_napari_finds_the_manifest_and_what_it_names(run_installed: Run) -> None:
    code = """
import importlib, npe2
manager = npe2.PluginManager()
manager.discover()
manifest = manager.get_manifest("napari-softseg")
print(manifest.display_name, manifest.package_metadata.version, sep="\\n")
for command in manifest.contributions.commands or ():
    module, _, name = command.python_name.partition(":")
    assert callable(getattr(importlib.import_module(module), name)), command
"""
    assert run_installed(["-c", code]).splitlines() == ["Soft Segmentation", "0.1.0"]


@pytest.mark.parametrize("name", ["models", "training", "tests", "setup"])
def test_no_generic_name_is_importable(run_installed: Run, name: str) -> None:
    code = f"import importlib.util; print(importlib.util.find_spec({name!r}))"
    assert run_installed(["-c", code]).strip() == "None"


def test_everything_but_the_widgets_imports_without_qt_and_napari(run_installed: Run) -> None:
    """A GPU server has neither."""
    code = f"""
import importlib, pkgutil, sys
import napari_softseg
pending = ["napari_softseg"]
while pending:
    name = pending.pop()
    module = importlib.import_module(name)
    print(name)
    loaded = {GUI!r} & set(sys.modules)
    assert not loaded, f"importing {{name}} loads {{sorted(loaded)}}"
    found = [f"{{name}}.{{info.name}}" for info in pkgutil.iter_modules(getattr(module, "__path__", []))]
    pending += [one for one in found if not one.endswith((".widgets", ".__main__"))]
"""
    imported = set(run_installed(["-c", code]).split())
    parts = ("solver", "unary", "models", "training", "cli")
    assert {f"napari_softseg.{part}" for part in parts} <= imported


def test_importing_the_package_loads_neither_torch_nor_numpy(run_installed: Run) -> None:
    code = "import sys, napari_softseg; print({'torch', 'numpy'} & set(sys.modules))"
    assert run_installed(["-c", code]).strip() == "set()"


@pytest.mark.parametrize("arguments", [["--help"], ["solve", "--help"], ["demo", "--help"]])
def test_help_answers_at_once_and_without_torch(
    installed: Path, tmp_path: Path, arguments: list[str]
) -> None:
    command = [str(installed / "napari-softseg"), *arguments]
    traced = run(command, tmp_path, PYTHONPROFILEIMPORTTIME="1")
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in traced.stderr.splitlines()}
    assert "napari_softseg" in imported
    assert not imported & (GUI | {"torch", "torchvision"})
    assert "usage" in traced.stdout.lower()

    # Processor time, the best of three: what a busy machine cannot add to.
    assert min(processor_seconds(command, tmp_path) for _ in range(3)) < 0.5


def processor_seconds(command: list[str], folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(command, folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
