"""PASCAL VOC 2012 with the strokes of ScribbleSup.

::

    JPEGImages/NAME.jpg
    SegmentationClass/NAME.png            index PNG, 255 between objects
    SegmentationClassAug/NAME.png         the 10582 training masks of SBD (Hariharan et al. 2011)
    ImageSets/Segmentation/{train_aug,trainaug,train,val,...}.txt
    scribble_annotation/pascal_2012/NAME.xml    ScribbleSup as published, or
    pascal_2012_scribble/NAME.png               drawn, 255 without a stroke
"""

from __future__ import annotations

from pathlib import Path

from napari_softseg.errors import InputError
from napari_softseg.training.data.layouts import Entry, Layout, by_stem

LOOKED_FOR = "JPEGImages/ of PASCAL VOC 2012 (or one of its lists, ImageSets/Segmentation/val.txt)"
NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)
VOID = 255

_TRAINING_LISTS = (
    "Segmentation/train_aug.txt",
    "Segmentation/trainaug.txt",
    "SegmentationAug/train.txt",
    "Segmentation/train.txt",
)
_SCRIBBLES = (
    "scribble_annotation/pascal_2012",
    "ScribbleAnnotation/pascal_2012",
    "pascal_2012_scribble",
    "scribbles",
)
_MASKS = ("SegmentationClass", "SegmentationClassAug")


def voc_layout(path: Path) -> Layout | None:
    """Return the files of a VOC folder's training list, or of the list `path` names; None if it is neither."""
    root = path.parent.parent.parent  # of ImageSets/Segmentation/NAME.txt
    if path.suffix == ".txt" and (root / "JPEGImages").is_dir():
        listed = path
    else:
        roots = (path, path / "VOC2012", path / "VOCdevkit" / "VOC2012")
        present = [folder for folder in roots if (folder / "JPEGImages").is_dir()]
        if not present:
            return None
        root = present[0]
        lists = [root / "ImageSets" / name for name in _TRAINING_LISTS]
        found = next((file for file in lists if file.is_file()), None)
        if found is None:
            raise InputError(
                f"Found no training list in {root}; looked for ImageSets/{', '.join(_TRAINING_LISTS)}."
            )
        listed = found
    images = by_stem(root / "JPEGImages")
    scribbles = _first_of(root, _SCRIBBLES)
    masks = _first_of(root, _MASKS)
    entries, strays = [], []
    for name in _listed_names(listed):
        if name in images:
            entries.append(Entry(name, images[name], scribbles.get(name), masks.get(name)))
        else:
            strays.append((name, f"{root / 'JPEGImages'} has no image {name}, which {listed} lists"))
    return Layout(
        path=path,
        entries=entries,
        classes=dict(enumerate(NAMES)),
        unlabelled=VOID,
        ignore=VOID,
        strays=tuple(strays),
    )


def _listed_names(listed: Path) -> list[str]:
    """Return the names in a list: a name per line, or paths of image and mask as some lists have them."""
    try:
        lines = listed.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{listed} cannot be read as a list of names ({error}).") from None
    return list(dict.fromkeys(Path(line.split()[0]).stem for line in lines if line.strip()))


def _first_of(root: Path, folders: tuple[str, ...]) -> dict[str, Path]:
    """Return the files by their stems, each from the first of the folders that has it."""
    found: dict[str, Path] = {}
    for folder in reversed(folders):
        found |= by_stem(root / folder, (".png", ".xml"))
    return found
