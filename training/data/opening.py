"""Open an annotated folder of any known layout and check all of it before any training."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from napari_softseg.errors import InputError
from napari_softseg.files import READABLE, read_image
from napari_softseg.options import MAX_CLASS_VALUE
from napari_softseg.solver.checks import REPLACE, not_finite
from napari_softseg.training.data import ade20k, cityscapes, plain_folder, project_folder, voc
from napari_softseg.training.data.folder import AnnotatedFolder
from napari_softseg.training.data.label_files import (
    LabelMismatch,
    LabelRules,
    check_size,
    read_labels,
    tagged_polylines,
)
from napari_softseg.training.data.layouts import Entry, Layout, stem

Need = Literal["scribbles", "masks", "any"]
_WORDS = {"scribbles": "scribbles", "masks": "mask", "any": "scribbles or mask"}
_Skipped = list[tuple[str, str]]
"""Names of images that are left out, each with the reason."""

_LAYOUTS: dict[str, Callable[[Path], Layout | None]] = {
    project_folder.LOOKED_FOR: project_folder.project_layout,
    voc.LOOKED_FOR: voc.voc_layout,
    cityscapes.LOOKED_FOR: cityscapes.cityscapes_layout,
    ade20k.LOOKED_FOR: ade20k.ade20k_layout,
    plain_folder.LOOKED_FOR: plain_folder.plain_layout,
}
"""By what people read they look for; the first that fits is taken."""
_MOST_THREADS = 8
IGNORE = 255
"""What masks leave out where nothing else is said."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What the files of one image hold."""

    channels: int
    scribble_values: frozenset[int]
    mask_values: frozenset[int]


def open_annotated(
    path: str | os.PathLike[str],
    *,
    unlabelled: int | None = None,
    ignore: int = IGNORE,
    strict: bool = False,
    need: Need = "scribbles",
    length_ratio: float = 1.0,
    classes: Mapping[int, str] | None = None,
) -> AnnotatedFolder:
    """Open a folder of annotated images.

    Every file is read once and checked, so that training meets no surprise hours later; the pixels are
    let go and read again by :meth:`AnnotatedFolder.load`.

    Parameters
    ----------
    path
        A folder of one of the known layouts.
    unlabelled
        Value of scribbles where nothing was painted; None for what the folder says.
    ignore
        Value of masks where the class is unknown. Where 255 is a class, masks mean that.
    strict
        Refuse damaged files instead of leaving them out.
    need
        Which labels every image must have; those without are left out.
    length_ratio
        Share of each stroke's length to use, 0..1; 0 is one point.
    classes
        Values and names of the classes, such as those of a trained model, instead of the folder's own.

    Raises
    ------
    InputError
        If no layout fits, the folder has no images or none with the labels needed, labels are of another
        size than their image or hold a value that is no class, images differ in their channels, or another
        value than 255 is a class and ignored.
    """
    path = Path(path)
    if not 0 <= length_ratio <= 1:
        raise InputError(f"Expected length_ratio to be from 0 to 1, but got {length_ratio:g}.")
    layout = _recognised(path)
    if not layout.entries:
        raise InputError(f"Found no images in {path}; expected {READABLE} files.")
    entries, without = _with_labels(layout, need)
    usable, damaged = _read_all(entries, layout, strict)
    rules = _settled_rules(layout, [found for _, found in usable], unlabelled, ignore, classes, length_ratio)
    for entry, found in usable:
        rules.check(entry.scribbles, found.scribble_values, entry.mask, found.mask_values)
    empty: _Skipped = []
    if need == "scribbles":
        usable, empty = _with_strokes(usable, rules, path)
    painted = frozenset[int]().union(*(found.scribble_values for _, found in usable)) - {rules.unlabelled}
    return AnnotatedFolder(
        path,
        tuple(entry for entry, _ in usable),
        (rules,) * len(usable),
        _common_channels(usable),
        sorted([*without, *damaged, *empty, *layout.strays]),
        _untaught(rules, painted),
    )


def _untaught(rules: LabelRules, painted: frozenset[int]) -> list[str]:
    """Return a line about the classes without a stroke, where there are strokes at all."""
    classes = zip(rules.class_values, rules.class_names, strict=True)
    without = [f"{value} ({name})" for value, name in classes if value not in painted]
    if not without or not painted:
        return []
    if len(without) == 1:
        return [f"Class {without[0]} has no stroke in any image: strokes will not teach it."]
    return [f"Classes {', '.join(without)} have no stroke in any image: strokes will not teach them."]


def _recognised(path: Path) -> Layout:
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path.")
    for recognise in _LAYOUTS.values():
        layout = recognise(path)
        if layout is not None:
            return layout
    raise InputError(f"{path} is no annotated folder that is known here; looked for {'; '.join(_LAYOUTS)}.")


def _with_labels(layout: Layout, need: Need) -> tuple[list[Entry], _Skipped]:
    """Return the entries that have the labels needed, and the others with the reason."""
    kept: list[Entry] = []
    skipped: _Skipped = []
    for entry in layout.entries:
        has = {"scribbles": entry.scribbles, "masks": entry.mask, "any": entry.scribbles or entry.mask}
        if has[need] is None:
            skipped.append((entry.name, f"{entry.image} has no {_WORDS[need]}"))
        else:
            kept.append(entry)
    if not kept:
        raise InputError(
            f"Found no {_WORDS[need]} for any of the {len(skipped)} images in {layout.path}; their files need the "
            f"stems of the images, such as {stem(layout.entries[0].image)}."
        )
    return kept, skipped


def _read_all(
    entries: list[Entry], layout: Layout, strict: bool
) -> tuple[list[tuple[Entry, _Found]], _Skipped]:
    """Return the entries whose files can be read and what they hold, and the others with the reason."""
    tags = {name: value for value, name in (layout.classes or {}).items()}
    usable: list[tuple[Entry, _Found]] = []
    damaged: _Skipped = []
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        for entry, found in zip(entries, pool.map(partial(_examined, tags=tags), entries), strict=True):
            if isinstance(found, _Found):
                usable.append((entry, found))
            elif strict:
                raise InputError(found)
            else:
                damaged.append((entry.name, found))
    if not usable:
        raise InputError(f"Found no usable image in {layout.path}: {damaged[0][1]}")
    return usable, damaged


def _with_strokes(
    usable: list[tuple[Entry, _Found]], rules: LabelRules, path: Path
) -> tuple[list[tuple[Entry, _Found]], _Skipped]:
    """Return the entries with a stroke, and the others with the reason; there must be two classes."""
    nothing = frozenset({rules.unlabelled})
    kept = [(entry, found) for entry, found in usable if found.scribble_values - nothing]
    painted = {value for _, found in kept for value in found.scribble_values - nothing}
    if len(painted) < 2:
        raise InputError(
            f"Found {'strokes of one class' if painted else 'no strokes'} in the {len(usable)} usable images of "
            f"{path}; paint strokes of at least two classes (unlabelled pixels have value {rules.unlabelled})."
        )
    return kept, [
        (entry.name, f"{entry.scribbles} has no stroke: every pixel is {rules.unlabelled}")
        for entry, found in usable
        if not found.scribble_values - nothing
    ]


def _examined(entry: Entry, tags: Mapping[str, int]) -> _Found | str:
    """Return what an image's files hold, or why they cannot be used.

    Raises
    ------
    LabelMismatch
        If they do not fit together: that is no damage but a mistake, in other images as well.
    """
    try:
        image = read_image(entry.image)
        scribble_values = mask_values = frozenset[int]()
        if entry.scribbles is not None and entry.scribbles.suffix.lower() == ".xml":
            scribble_values = frozenset(tags[one.tag] for one in tagged_polylines(entry.scribbles, tags))
        elif entry.scribbles is not None:
            scribble_values = _values(entry.scribbles, entry.image, image.shape[:2])
        if entry.mask is not None:
            mask_values = _values(entry.mask, entry.image, image.shape[:2])
    except LabelMismatch:
        raise
    except InputError as error:
        return str(error)
    if not_finite(image) is not None:
        return f"{entry.image} has NaN or infinite pixels; {REPLACE}."
    return _Found(1 if image.ndim == 2 else image.shape[2], scribble_values, mask_values)


def _values(labels: Path, image: Path, shape: tuple[int, ...]) -> frozenset[int]:
    values = read_labels(labels)
    check_size(labels, values.shape, image, shape)
    return frozenset(np.unique(values).tolist())


def _settled_rules(
    layout: Layout,
    found: list[_Found],
    unlabelled: int | None,
    ignore: int,
    classes: Mapping[int, str] | None,
    length_ratio: float,
) -> LabelRules:
    """Return what label values mean, by what was given, what the layout says and what the files hold."""
    scribbled = frozenset[int]().union(*(one.scribble_values for one in found))
    masked = frozenset[int]().union(*(one.mask_values for one in found))
    ignore = ignore if layout.ignore is None else layout.ignore
    classes = classes or layout.classes
    if classes is not None or layout.names:
        _check_classes(classes or range(len(layout.names)), layout.path)
    if unlabelled is None:
        unlabelled = layout.unlabelled
    if unlabelled is None and scribbled:
        unlabelled = _guessed_unlabelled(layout, scribbled, classes)
    if classes is None and layout.names:
        classes = dict(zip(_first_values(len(layout.names), unlabelled), layout.names, strict=True))
    if classes is None:
        values = (scribbled | masked - {ignore}) - {unlabelled}
        classes = {value: f"class {value}" for value in sorted(values)}
        _check_classes(classes, layout.path)
    if scribbled and unlabelled is not None and unlabelled in classes:
        raise InputError(
            f"In {layout.path} the value {unlabelled} cannot be the class {classes[unlabelled]!r} and mean no stroke "
            "at once; say another --unlabelled, or none for what the folder says."
        )
    if ignore in classes and ignore != IGNORE:
        raise InputError(
            f"In {layout.path} the value {ignore} cannot be the class {classes[ignore]!r} and be left out of masks "
            "at once; say another --ignore."
        )
    return LabelRules(
        class_values=tuple(sorted(classes)),
        class_names=tuple(classes[value] for value in sorted(classes)),
        unlabelled=unlabelled,
        ignore=ignore,
        mask_values=layout.mask_values,
        length_ratio=length_ratio,
    )


def _check_classes(values: Collection[int], path: Path) -> None:
    if len(values) < 2:
        count = "no class" if not values else "one class only"
        raise InputError(
            f"Found {count} in {path}; a segmentation needs two to tell apart: "
            "name another in its list of classes, or paint it."
        )
    wrong = [value for value in values if not 0 <= value <= MAX_CLASS_VALUE]
    if wrong:
        raise InputError(
            f"Expected class values from 0 to {MAX_CLASS_VALUE} in {path}, but found {wrong[0]}."
        )


def _guessed_unlabelled(layout: Layout, scribbled: frozenset[int], classes: Mapping[int, str] | None) -> int:
    """Return 0 or 255, whichever leaves fewer values without a meaning, else raise InputError."""
    others: dict[int, int] = {}
    for value in {0, MAX_CLASS_VALUE} & scribbled:
        if classes is not None:
            known = set(classes)
        elif layout.names:
            known = set(_first_values(len(layout.names), value))
        else:
            known = set(scribbled) - {0, MAX_CLASS_VALUE}
        if value not in known:
            others[value] = len(scribbled - known - {value})
    # values that are no class either way are a mistake in some file, which is told when all are checked
    possible = [value for value, count in others.items() if count == min(others.values())]
    if len(possible) != 1:
        held = sorted(scribbled)
        listed = ", ".join(map(str, held[:6])) + (", ..." if len(held) > 6 else "")
        raise InputError(
            f"Say which value means no stroke in {layout.path}: its scribbles hold {listed}; "
            "pass it as unlabelled (--unlabelled 0 or 255)."
        )
    return possible[0]


def _first_values(count: int, unlabelled: int | None) -> list[int]:
    """Return the values of `count` classes of which only the order is known."""
    return [value for value in range(count + 1) if value != unlabelled][:count]


def _common_channels(usable: list[tuple[Entry, _Found]]) -> int:
    first, found = usable[0]
    for entry, other in usable:
        if other.channels != found.channels:
            raise InputError(
                f"Images need as many channels each: {first.image} has {found.channels}, but {entry.image} "
                f"has {other.channels}; convert one kind."
            )
    return found.channels
