"""Every option of the solver and its default, once.

The Python API, the command line and the dock widget are generated from or checked
against :class:`SolveOptions`. This module imports neither torch nor Qt, so that
``napari-softseg --help`` answers at once.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from napari_softseg.errors import InputError

MAX_CLASS_VALUE = 255
"""Largest class value in scribbles: label files stay 8-bit and readable everywhere."""


class Choice(StrEnum):
    """A closed list of names, each with a one-line explanation for people."""

    explanation: str

    def __new__(cls, value: str, explanation: str) -> Self:
        """Store the explanation beside the name."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.explanation = explanation
        return member

    @classmethod
    def named(cls, name: object) -> Self:
        """Return the member of that name in any case; InputError lists the choices."""
        if isinstance(name, cls):
            return name
        for member in cls:
            if member == str(name).lower():
                return member
        kind = "".join(f" {c.lower()}" if c.isupper() else c for c in cls.__name__).strip()
        raise InputError(f"Unknown {kind} {name!r}; choose one of: {', '.join(cls)}.")


class Relaxation(Choice):
    """The six relaxations P of the Potts model (Zhang & Boykov 2025, table 1)."""

    BL = "bl", "bilinear: tight but blind to the softness of a label"
    Q = "q", "quadratic: convex, smooth, the random walker's"
    NQ = "nq", "normalised quadratic: the cosine between two labels"
    CCE = "cce", "collision cross-entropy: the logarithm of the bilinear"
    LQ = "lq", "log-quadratic: convex, keeps its gradient at wrong labels"
    CD = "cd", "collision divergence: the logarithm of the cosine; the paper's best"


class CrossEntropy(Choice):
    """The three cross-entropies H between pseudo-label y and unary sigma."""

    CE = "ce", "standard: trusts a confident unary, even a wrong one"
    RCE = "rce", "reverse: ignores uncertain labels, still hard on wrong ones"
    CCE = "cce", "collision: ignores uncertainty on either side; the paper's best"


class Neighborhood(Choice):
    """Which pixels are neighbours."""

    GRID4 = "grid4", "the 4 nearest pixels, in a volume the 6 nearest voxels"
    GRID8 = "grid8", "the 8 nearest pixels, diagonals weighted by 1/sqrt(2)"
    SN = "sn", "sparse non-local: the 4 nearest and 16 pixels up to 64 away, weighted by 1/distance"
    DN = "dn", "dense: all pixels, weighted by colour and distance; relaxations bl and q only"


class Unary(Choice):
    """Where sigma, the first guess for every pixel, comes from."""

    CLASSIFIER = "classifier", "a pixel classifier trained on the strokes, and which strokes are near"
    PRETRAINED = "pretrained", "the same, which also sees what a network trained on ImageNet sees"
    NONE = "none", "no guess: colours spread from the strokes alone"


class Method(Choice):
    """How the energy is minimised."""

    MM = "mm", "majorise-minimise: no step size, never raises the energy"
    GD = "gd", "the paper's gradient descent: 200 steps, learning rate 0.075"
    CLOSED_FORM = "closed-form", "the random walker with priors; relaxation q with q's unary"


@dataclass(frozen=True, slots=True, kw_only=True)
class SolveOptions:
    """Options of one solve; the field metadata holds what people read about them.

    Raises
    ------
    InputError
        If a name is unknown (the message lists the choices) or a number is out of
        its range.
    """

    unary: str = field(
        default=Unary.CLASSIFIER,
        metadata={"help": "first guess for every pixel", "choices": Unary},
    )
    weights: str = field(
        default="imagenet",
        metadata={"help": "unary pretrained only: weights of its network, imagenet (a download) or a file"},
    )
    relaxation: str = field(
        default=Relaxation.CD,
        metadata={"help": "relaxation P of the Potts model", "choices": Relaxation},
    )
    cross_entropy: str = field(
        default=CrossEntropy.CCE,
        metadata={"help": "cross-entropy H of the unary term", "choices": CrossEntropy},
    )
    neighborhood: str = field(
        default=Neighborhood.GRID4,
        metadata={"help": "which pixels are neighbours", "choices": Neighborhood},
    )
    eta: float = field(
        default=0.3,
        metadata={"help": "trust in the unary", "minimum": 0.0, "maximum": 100.0},
    )
    lambda_: float = field(
        default=6.0,
        metadata={"help": "smoothness: weight of the Potts term", "minimum": 0.0, "maximum": 1000.0},
    )
    bandwidth: float = field(
        default=9.0,
        metadata={
            "help": "edge sensitivity in grey values of 0..255: smaller keeps weaker edges",
            "minimum": 0.01,
            "maximum": 1000.0,
        },
    )
    reach: float = field(
        default=100.0,
        metadata={
            "help": "neighbours dn only: how far apart pixels still count as neighbours, in pixels",
            "minimum": 1.0,
            "maximum": 100_000.0,
        },
    )
    spacing: float = field(
        default=1.0,
        metadata={
            "help": "volumes only: distance of two planes, in pixels of a plane",
            "minimum": 0.01,
            "maximum": 1000.0,
        },
    )
    method: str = field(
        default=Method.MM,
        metadata={"help": "how the energy is minimised", "choices": Method},
    )
    device: str = field(
        default="auto",
        metadata={"help": "auto, cpu, cuda, cuda:1, mps"},
    )
    unlabelled: int = field(
        default=0,
        metadata={"help": "value of pixels without a stroke", "minimum": 0, "maximum": 255},
    )
    max_sweeps: int = field(
        default=200,
        metadata={"help": "most sweeps (mm), steps (gd) or iterations", "minimum": 1, "maximum": 100_000},
    )
    tolerance: float = field(
        default=1e-3,
        metadata={
            "help": "stop when a sweep moves less than this share of all label mass",
            "minimum": 0.0,
            "maximum": 1.0,
        },
    )

    def __post_init__(self) -> None:
        check_fields(self)


def check_fields(options: Any) -> None:
    """Bring every field of a frozen dataclass of options to its type and range.

    Metadata: ``choices`` (a Choice), or ``minimum`` and ``maximum``; a type ``int | None`` allows None.

    Raises
    ------
    InputError
        If a name is unknown or a number is out of range; the message names the value and the way out.
    """
    for spec in fields(options):
        object.__setattr__(options, spec.name, checked_field(spec, getattr(options, spec.name)))


def checked_field(spec: Field[Any], value: Any) -> Any:
    """Return a value for one field in its type, or raise InputError; rules among fields are not checked."""
    return _checked(spec.name, value, str(spec.type), spec.metadata)


def _checked(name: str, value: Any, kind: str, metadata: Any) -> Any:
    """Return `value` in its proper type, or raise InputError naming value and way out."""
    if "choices" in metadata:
        return metadata["choices"].named(value)
    if kind.endswith(" | None"):
        if value is None or str(value).lower() == "none":
            return None
        kind = kind.removesuffix(" | None")
    if kind == "str":
        return str(value)
    if kind == "bool":
        if isinstance(value, bool):
            return value
        raise InputError(f"Expected {name} to be true or false, but got {value!r}.")
    low, high = metadata["minimum"], metadata["maximum"]
    kind_text = "a whole number" if kind == "int" else "a number"
    try:
        number = int(value) if kind == "int" else float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"Expected {name} to be {kind_text}, but got {value!r}.") from None
    if not low <= number <= high or number != float(value):  # NaN is in no range
        limits = f"{low} to {high}" if kind == "int" else f"{low:g} to {high:g}"
        raise InputError(f"Expected {name} to be {kind_text} from {limits}, but got {value}.")
    return number


DEFAULTS = SolveOptions()
"""The one place every default comes from."""
