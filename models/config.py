"""What a segmentation network is built from. Imports no torch, so that commands can list the choices at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import cycle, islice
from typing import Any, Self

from napari_softseg.errors import InputError
from napari_softseg.options import MAX_CLASS_VALUE, Choice

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
OUTPUT_STRIDES = (8, 16)
MAX_CHANNELS = 1024


class Backbone(Choice):
    """Feature extractors, by their names in torchvision."""

    MOBILENET_V2 = "mobilenet_v2", "1.8 M parameters: small and quick, the paper's small one"
    MOBILENET_V3_SMALL = "mobilenet_v3_small", "0.9 M: the smallest"
    MOBILENET_V3_LARGE = "mobilenet_v3_large", "2.8 M: between mobilenet_v2 and resnet18"
    EFFICIENTNET_B0 = "efficientnet_b0", "3.6 M: accurate for its size, slow for it too"
    EFFICIENTNET_B3 = "efficientnet_b3", "10 M"
    EFFICIENTNET_V2_S = "efficientnet_v2_s", "20 M"
    RESNET18 = "resnet18", "11 M"
    RESNET34 = "resnet34", "21 M"
    RESNET50 = "resnet50", "24 M"
    RESNET101 = "resnet101", "43 M: the paper's large one"
    RESNET152 = "resnet152", "58 M"
    RESNEXT50 = "resnext50_32x4d", "23 M"
    WIDE_RESNET50 = "wide_resnet50_2", "67 M"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Architecture, classes and normalisation of one network: enough to build it again.

    Parameters
    ----------
    class_values
        The K values of the classes in label files, 0..255, in the order of the network's channels.
    class_names
        Their K names.
    in_channels
        C, channels of the images.
    backbone
        One of :class:`Backbone`.
    output_stride
        Pixels between two features of the backbone, 8 or 16: 8 sees finer, takes about thrice the time.
    mean, std
        Per channel, in grey values of 0..255. Default: ImageNet's, in turn for more than 3 channels,
        averaged for one.
    dropout
        Of the ASPP and the first decoder layer; the second one has a fifth of it, and stochastic depth
        (EfficientNets) scales with it. 0.5 is the recipe's, 0 switches all of it off.
    longest
        Longer side that larger images are shrunk to before the network sees them, in pixels; None: no limit.

    Raises
    ------
    InputError
        If a value is out of its range, or a name is unknown (the message lists the choices).
    """

    class_values: tuple[int, ...]
    class_names: tuple[str, ...]
    in_channels: int = 3
    backbone: str = Backbone.MOBILENET_V2
    output_stride: int = 16
    mean: tuple[float, ...] = field(default=())
    std: tuple[float, ...] = field(default=())
    dropout: float = 0.5
    longest: int | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        for name in ("class_values", "class_names", "mean", "std"):
            if not isinstance(getattr(self, name), tuple | list):
                raise InputError(f"Expected {name} to be a list, but got {getattr(self, name)!r}.")
        put(self, "class_values", _class_values(self.class_values))
        put(self, "class_names", _class_names(self.class_names, len(self.class_values)))
        put(self, "backbone", Backbone.named(self.backbone))
        if self.output_stride not in OUTPUT_STRIDES:
            raise InputError(f"Expected output_stride to be 8 or 16, but got {self.output_stride!r}.")
        if not _whole(self.in_channels) or not 1 <= self.in_channels <= MAX_CHANNELS:
            raise InputError(
                f"Expected in_channels to be a whole number from 1 to {MAX_CHANNELS}, "
                f"but got {self.in_channels!r}."
            )
        put(self, "mean", _per_channel("mean", self.mean or IMAGENET_MEAN, self.mean, self.in_channels))
        put(self, "std", _per_channel("std", self.std or IMAGENET_STD, self.std, self.in_channels))
        if min(self.std) <= 0:
            raise InputError(f"Expected std to be > 0 for every channel, but got {min(self.std)}.")
        if not _number(self.dropout) or not 0 <= self.dropout < 1:
            raise InputError(f"Expected dropout to be from 0 to below 1, but got {self.dropout!r}.")
        if self.longest is not None and (not _whole(self.longest) or self.longest < 1):
            raise InputError(
                f"Expected longest to be None or a whole number from 1, but got {self.longest!r}."
            )

    @property
    def n_classes(self) -> int:
        """K."""
        return len(self.class_values)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Return the configuration that `to_json` wrote; InputError names what is missing or wrong."""
        if not isinstance(values, dict):
            raise InputError(f"Expected the configuration to be an object, but got {values!r}.")
        names = {spec.name for spec in fields(cls)}
        if names != set(values):
            raise InputError(
                f"Expected the configuration to hold {', '.join(sorted(names))}, "
                f"but it differs in {', '.join(sorted(names ^ set(values)))}."
            )
        fields_of: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in values.items()}
        return cls(**fields_of)


def for_channels(values: Sequence[float], n: int) -> tuple[float, ...]:
    """Return RGB statistics for n channels: their mean for one, else repeated in turn."""
    return (sum(values) / len(values),) if n == 1 else tuple(islice(cycle(values), n))


def _per_channel(name: str, default: Sequence[float], given: Sequence[float], n: int) -> tuple[float, ...]:
    if not given:
        return for_channels(default, n)
    if len(given) != n or not all(_number(value) and math.isfinite(value) for value in given):
        raise InputError(f"Expected {name} to be {n} numbers, one per channel, but got {given!r}.")
    return tuple(map(float, given))


def _class_values(values: Sequence[int]) -> tuple[int, ...]:
    if not all(_whole(value) and 0 <= value <= MAX_CLASS_VALUE for value in values):
        raise InputError(f"Expected class_values from 0 to {MAX_CLASS_VALUE}, but got {values!r}.")
    if len(values) < 2 or len(set(values)) < len(values):
        raise InputError(f"Expected class_values to be two or more different values, but got {values!r}.")
    return tuple(map(int, values))


def _class_names(names: Sequence[str], n: int) -> tuple[str, ...]:
    if len(names) != n or not all(isinstance(name, str) for name in names):
        raise InputError(f"Expected class_names to be {n} names, one per class value, but got {names!r}.")
    return tuple(names)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
