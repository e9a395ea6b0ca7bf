"""Image files that moved or changed: told of, never guessed at."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from napari_softseg.errors import InputError
from napari_softseg.files import read_image
from napari_softseg.project.fingerprint import file_stamp, take_fingerprint
from napari_softseg.project.image_files import replace_image
from napari_softseg.project.manifest import Manifest, ProjectImage
from napari_softseg.project.paths import inside
from napari_softseg.project.writing import writing


def check(image: ProjectImage, path: Path) -> tuple[str, ProjectImage]:
    """Return what is wrong with an image's file, empty if nothing, and the image as it is known now."""
    was = image.fingerprint
    try:
        size, modified = file_stamp(path)
        if was is None or (size, modified) == (was.size, was.modified):
            return "", image
        if size == was.size:
            now = take_fingerprint(path)
            if now == was:  # written anew, with the same content: known next time, without reading it
                return "", replace(image, fingerprint=now)
    except FileNotFoundError:
        return f"the image file is gone: there is no {path}", image
    except OSError as error:
        return f"the image file cannot be read: {path}: {error.strerror or error}", image
    return f"the image file changed since it was added: {path}", image


def relocated(image: ProjectImage, project: Path, file: Path) -> tuple[ProjectImage, str]:
    """Return an image whose file is `file` from now on, and what differs from the one that was added.

    Raises
    ------
    InputError
        If the file cannot be read or copied, or its size is another.
    """
    height, width = read_image(file).shape[:2]
    if (height, width) != image.size:
        raise InputError(
            f"{file} has {height} x {width} pixels, but {image.name!r} has {image.size[0]} x {image.size[1]}; "
            "its strokes do not fit."
        )
    if image.referenced:
        found = replace(image, path=str(file.resolve()))
        path = Path(found.path)
    else:
        found = replace(image, path=f"images/{image.name}{file.suffix.lower()}")
        path = inside(project, found.path)
        if not path.exists() or not path.samefile(file):
            replace_image(path, file)
    with writing(project):
        found = replace(found, fingerprint=take_fingerprint(path))
    same = image.fingerprint is None or image.fingerprint == found.fingerprint
    return found, "" if same else f"{file} is not the file that was added: its content differs"


def found_beside(manifest: Manifest, folder: Path) -> Manifest:
    """Return the manifest with references that are gone turned to the very same files in `folder`."""
    for image in manifest.images:
        file = folder / Path(image.path).name
        if image.referenced and not Path(image.path).exists() and image.fingerprint is not None:
            with suppress(OSError):  # there is none, or nobody may read it
                if file.stat().st_size == image.fingerprint.size:
                    found = take_fingerprint(file)
                    if found == image.fingerprint:
                        manifest = with_image(manifest, replace(image, path=str(file), fingerprint=found))
    return manifest


def with_image(manifest: Manifest, changed: ProjectImage) -> Manifest:
    """Return the manifest with this image in place of the one of its name."""
    images = (changed if image.name == changed.name else image for image in manifest.images)
    return replace(manifest, images=tuple(images))
