"""Cityscapes (Cordts et al. 2016): the 34 label ids as the 19 classes that are scored.

::

    leftImg8bit/SPLIT/CITY/CITY_000000_000019_leftImg8bit.png
    gtFine/SPLIT/CITY/CITY_000000_000019_gtFine_labelIds.png
    scribbles/SPLIT/[CITY/]CITY_000000_000019*.png    train ids 0..18, 255 without a stroke
"""

from __future__ import annotations

from pathlib import Path

from napari_softseg.errors import InputError
from napari_softseg.training.data.layouts import Layout, pair

LOOKED_FOR = "leftImg8bit/ of Cityscapes (or one of its splits, leftImg8bit/val)"
VOID = 255
TRAIN_IDS = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
"""Label ids of the scored classes; their train ids count from 0 in this order."""


def cityscapes_layout(path: Path) -> Layout | None:
    """Return the files of the training split, or of the split that `path` names; None if it is neither."""
    if path.parent.name == "leftImg8bit":
        root, split = path.parent.parent, path.name
    elif (path / "leftImg8bit").is_dir():
        root, split = path, "train"
    else:
        return None
    return Layout(
        path=path,
        entries=pair(
            _by_frame(root / "leftImg8bit" / split, "_leftImg8bit.png"),
            _by_frame(root / "scribbles" / split, ".png"),
            _by_frame(root / "gtFine" / split, "_gtFine_labelIds.png"),
        ),
        classes=dict(enumerate(TRAIN_IDS.values())),
        unlabelled=VOID,
        ignore=VOID,
        mask_values={stored: value for value, stored in enumerate(TRAIN_IDS)},
    )


def _by_frame(folder: Path, ending: str) -> dict[str, Path]:
    """Return the files below a folder by city, sequence and frame."""
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob(f"*{ending}")):
        frame = "_".join(file.name.removesuffix(ending).split("_")[:3])
        if found.setdefault(frame, file) != file:
            raise InputError(f"{found[frame]} and {file} are both of {frame}; remove one of them.")
    return found
