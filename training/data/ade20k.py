"""ADE20K in the form of its scene parsing challenge (Zhou et al. 2017), with block scribbles.

::

    images/{training,validation}/ADE_train_00000001.jpg
    annotations/{training,validation}/ADE_train_00000001.png    1..150, 0 for everything else
    scribbles/{training,validation}/ADE_train_00000001.png      1..150, 0 without a stroke
    objectInfo150.txt                                            names of the classes

or, as block scribbles are published (Liang et al. 2022)::

    {train,val}/image/ADE_train_00000001.jpg
    {train,val}/label/ADE_train_00000001.png
    train/sparse_label/{block10,block20,block50}/ADE_train_00000001.png
"""

from __future__ import annotations

from pathlib import Path

from napari_softseg.errors import InputError
from napari_softseg.training.data.layouts import Layout, by_stem, pair

LOOKED_FOR = (
    "images/training/ of ADE20K (or images/validation), or train/image/ with train/sparse_label/ "
    "(or one of its parts, train/sparse_label/block50)"
)
CLASSES = 150
OTHER = 0


def ade20k_layout(path: Path) -> Layout | None:
    """Return the files of the training split, or of what `path` names; None if it is neither."""
    if (path / "images" / "training").is_dir():
        return _challenge(path, path, "training")
    if path.name in ("training", "validation") and path.parent.name == "images":
        return _challenge(path, path.parent.parent, path.name)
    for split in (path, path / "train"):
        if (split / "image").is_dir() and (split / "label").is_dir():
            return _blocks(path, split, _only_block(split))
    if path.parent.name == "sparse_label" and (path.parents[1] / "image").is_dir():
        return _blocks(path, path.parents[1], path)
    if path.name == "label" and (path.parent / "image").is_dir():
        return _blocks(path, path.parent, None)
    return None


def _challenge(path: Path, root: Path, split: str) -> Layout:
    return _layout(
        path, root, root / "images" / split, root / "scribbles" / split, root / "annotations" / split
    )


def _blocks(path: Path, split: Path, block: Path | None) -> Layout:
    return _layout(path, split.parent, split / "image", block, split / "label")


def _only_block(split: Path) -> Path | None:
    """Return the one folder of block scribbles, None if there is none; several have to be chosen from."""
    blocks = sorted(folder for folder in (split / "sparse_label").glob("*") if folder.is_dir())
    if len(blocks) > 1:
        raise InputError(
            f"{split} has several sets of scribbles; name one: {', '.join(map(str, blocks))}, or "
            f"{split / 'label'} for its masks."
        )
    return blocks[0] if blocks else None


def _layout(path: Path, root: Path, images: Path, scribbles: Path | None, masks: Path) -> Layout:
    return Layout(
        path=path,
        entries=pair(by_stem(images), {} if scribbles is None else by_stem(scribbles), by_stem(masks)),
        classes=_class_names(root / "objectInfo150.txt"),
        unlabelled=OTHER,
        ignore=OTHER,
    )


def _class_names(table: Path) -> dict[int, str]:
    """Return the names in ``objectInfo150.txt``, the first of every row's synonyms; numbers without it."""
    classes = {value: f"class {value}" for value in range(1, CLASSES + 1)}
    if not table.is_file():
        return classes
    try:
        for row in table.read_text(encoding="utf-8").splitlines()[1:]:
            cells = row.split("\t")
            classes[int(cells[0])] = cells[-1].split(";")[0].split(",")[0].strip()
    except (OSError, ValueError) as error:
        raise InputError(f"{table} cannot be read as the table of ADE20K's classes ({error}).") from None
    return classes
