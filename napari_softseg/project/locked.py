"""A project folder that one program writes to: when it may, and how its manifest changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from napari_softseg.errors import InputError
from napari_softseg.project import manifest as manifests
from napari_softseg.project.fingerprint import file_stamp
from napari_softseg.project.lock import ProjectLock
from napari_softseg.project.manifest import Manifest
from napari_softseg.project.reading import ProjectReader
from napari_softseg.project.writing import writing


class LockedFolder(ProjectReader):
    """What every change of a `napari_softseg.project.Project` goes through."""

    def __init__(self, path: Path, manifest: Manifest, read_only: str, lock: ProjectLock | None) -> None:
        super().__init__(path, manifest)
        self.read_only = read_only
        """Why nothing may be written; empty if it may."""
        self._lock = lock
        self._stamp = _stamp(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others write to the folder; from here on it is only read. Closing twice does nothing more."""
        with self._guard:
            if self._lock is not None:
                self.read_only = "it was closed"
                self._lock.release()
                self._lock = None

    def remember(self, **settings: Any) -> None:
        """Set these settings, anything JSON can hold, and keep the others.

        Raises
        ------
        InputError
            If nothing may be written.
        """
        with self._changing():
            now = self._manifest.settings
            if any(now.get(name) != value for name, value in settings.items()):
                self._write(replace(self._manifest, settings=manifests.plain({**now, **settings})))

    def _write(self, manifest: Manifest) -> None:
        path = self.path / manifests.FILE
        with writing(path):
            manifests.write_manifest(path, manifest)
        self._took_over(manifest)

    def _took_over(self, manifest: Manifest) -> None:
        """Work on with a manifest that was just written."""
        self._manifest, self._stamp = manifest, _stamp(self.path)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let one thread write at a time, and only to the folder that was opened."""
        with self._guard:
            if self.read_only:
                raise InputError(f"Nothing can be written to {self.path}: {self.read_only}.")
            self._require_there()
            if _stamp(self.path) != self._stamp:
                if manifests.read_manifest(self.path / manifests.FILE) != self._manifest:
                    raise InputError(
                        f"Nothing can be written to {self.path}: another program changed its "
                        f"{manifests.FILE}; close the project and open it again."
                    )
                self._stamp = _stamp(self.path)
            yield

    def _require_there(self) -> None:
        if not (self.path / manifests.FILE).is_file():
            raise InputError(
                f"The project {self.path} is gone: it was deleted or moved, or its disk is away; "
                "put it back, or keep your strokes in another project."
            )


def _stamp(folder: Path) -> tuple[int, int] | None:
    try:
        return file_stamp(folder / manifests.FILE)
    except OSError:
        return None
