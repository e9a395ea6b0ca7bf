"""Two things pyproject.toml cannot say: which packages there are, and where napari.yaml goes."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

TOP_LEVEL = ("models", "training")
"""Folders beside the package that are installed inside it."""


class BuildPyWithManifest(build_py):
    """Put napari.yaml where napari looks for it: inside the importable package."""

    def run(self) -> None:
        super().run()
        source = Path("napari.yaml").resolve()
        if self.editable_mode:
            target = Path("napari_softseg", source.name)
            target.unlink(missing_ok=True)
            try:
                target.symlink_to(Path("..", source.name))
                return
            except OSError:  # links not allowed
                pass
        else:
            target = Path(self.build_lib, "napari_softseg", source.name)
        shutil.copyfile(source, target)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs = super().get_outputs(include_bytecode)
        return [*outputs, str(Path(self.build_lib, "napari_softseg", "napari.yaml"))]


def packages() -> list[str]:
    """Name every package, the ones of the top-level folders by their installed names."""
    links = [f"napari_softseg.{name}{rest}" for name in TOP_LEVEL for rest in ("", ".*")]
    inside = find_packages(include=["napari_softseg", "napari_softseg.*"], exclude=links)
    beside = find_packages(include=[f"{name}{rest}" for name in TOP_LEVEL for rest in ("", ".*")])
    return inside + [f"napari_softseg.{name}" for name in beside]


setup(packages=packages(), cmdclass={"build_py": BuildPyWithManifest})
