"""The wheel holds the whole package, and nothing else."""

from __future__ import annotations

import ast
import re
import sys
import tarfile
import zipfile
from importlib.metadata import PathDistribution, packages_distributions
from pathlib import Path

import pytest

FOLDERS = {
    "napari_softseg": "napari_softseg",
    "models": "napari_softseg/models",
    "training": "napari_softseg/training",
}


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def sources(root: Path) -> set[str]:
    """Every file of the three folders that belongs in the package, by its installed name."""
    return {
        f"{installed}/{path.relative_to(root / folder).as_posix()}"
        for folder, installed in FOLDERS.items()
        for path in (root / folder).rglob("*")
        if path.suffix in {".py", ".pyi", ".jinja"} or path.name == "py.typed"
    }


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> PathDistribution:
    archive = zipfile.Path(wheel)
    (info,) = (entry for entry in archive.iterdir() if entry.name.endswith(".dist-info"))
    return PathDistribution(info)


def test_wheel_holds_the_three_folders_and_the_manifest_and_nothing_else(source: Path, wheel: Path) -> None:
    expected = sources(source) | {"napari_softseg/napari.yaml"}
    assert {"napari_softseg/models/__init__.py", "napari_softseg/training/__init__.py"} <= expected
    assert names(wheel) == expected


def test_wheel_from_the_checkout_equals_the_wheel_from_the_sdist(wheel: Path, direct_wheel: Path) -> None:
    assert names(direct_wheel) == names(wheel)


def test_sdist_brings_what_its_readers_look_for(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "LICENSE", "CHANGELOG.md", "napari.yaml", "setup.py"} <= held


def base_requirements(metadata: PathDistribution) -> set[str]:
    lines = [line for line in metadata.requires or () if "extra ==" not in line]
    assert not [line for line in lines if "[" in line], "an extra of a requirement can bring a Qt binding"
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in lines}


def test_no_qt_binding_in_the_base_requirements(metadata: PathDistribution) -> None:
    found = base_requirements(metadata)
    assert {"napari", "torch", "torchvision"} <= found
    assert not found & {"pyqt5", "pyqt6", "pyside2", "pyside6"}


def test_whatever_is_imported_is_required(source: Path, metadata: PathDistribution) -> None:
    modules = set()
    for path in (path for folder in FOLDERS for path in (source / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.partition(".")[0])
    # torch for CUDA and extras of ours bring them
    optional = {"triton", "distributed", "onnx", "onnxruntime"}
    outside = modules - sys.stdlib_module_names - {"napari_softseg"} - optional
    assert {"numpy", "torch", "PIL"} <= outside
    distributions = packages_distributions()
    needed = {distributions.get(module, [module])[0].lower().replace("_", "-") for module in outside}
    assert needed <= base_requirements(metadata)


def test_torch_has_no_upper_bound(metadata: PathDistribution) -> None:
    torch = [line for line in metadata.requires or () if line.startswith("torch")]
    assert torch == ["torch>=2.6", "torchvision>=0.21"]


@pytest.mark.parametrize("extra", ["pyqt5", "pyqt6", "all"])
def test_extras_name_the_binding(metadata: PathDistribution, extra: str) -> None:
    assert f'napari[{extra}]>=0.9; extra == "{extra}"' in (metadata.requires or ())


def test_version_and_classifier(metadata: PathDistribution) -> None:
    import napari_softseg

    assert metadata.version == napari_softseg.__version__
    assert "Framework :: napari" in metadata.metadata.get_all("Classifier", [])
