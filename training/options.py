"""Every option of training and its default, once; neither torch nor Qt is imported.

A preset is a set of defaults: whatever is given beside it wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from napari_softseg.errors import InputError
from napari_softseg.options import DEFAULTS as SOLVER
from napari_softseg.options import Choice, SolveOptions, check_fields

_SOLVER = {spec.name: spec.metadata for spec in fields(SolveOptions)}


class Preset(Choice):
    """How much to spend."""

    FAST = "fast", "100 steps on a few images, for correcting and training again"
    BALANCED = "balanced", "crops of 321 pixels, 680 steps on up to 100 images and more on more"
    PAPER = "paper", "the paper's recipe: 60 epochs of either stage, crops of 513, batch 12; wants a GPU"


class Loss(Choice):
    """What the network is trained on in the second stage; the first is pce."""

    SELF = "self", "strokes and the solver's soft pseudo-labels, solved anew for every batch"
    HARD = "hard", "strokes and hard pseudo-labels"
    GD = "gd", "strokes and the relaxation itself, by gradient descent"
    PCE = "pce", "strokes alone: partial cross-entropy"
    FULL = "full", "complete masks: the upper bound to compare with"


class HardLabels(Choice):
    """Where hard pseudo-labels come from."""

    ARGMAX = "argmax", "the most likely class of the soft ones"
    CUT = "cut", "the discrete Potts energy, 8 neighbours"


class Normalisation(Choice):
    """What the terms of the loss are divided by."""

    SEEDS = "seeds", "all by the number of stroke pixels in the batch, as in robust_trust_region"
    MEANS = "means", "each by the number of its own pixels"


class BatchNorm(Choice):
    """What batch normalisation does while training."""

    AUTO = "auto", "batches under 8 per process: image pooling's frozen, pretrained ones too; else train"
    FEW = (
        "few",
        "as auto, for few images: image pooling's frozen in any batch, the others taken anew after every epoch",
    )
    TRAIN = "train", "statistics of every batch"
    FROZEN = "frozen", "statistics of the pretrained network"


class Crops(Choice):
    """Where crops are taken from."""

    RANDOM = "random", "anywhere"
    STROKES = "strokes", "around the strokes"


class Precision(Choice):
    """Number format of the network's arithmetic; labels and losses stay float32."""

    AUTO = "auto", "bf16 on GPUs and CPUs that have it, else fp32"
    FP32 = "fp32", "single precision"
    FP16 = "fp16", "half precision with loss scaling (CUDA)"
    BF16 = "bf16", "brain floating point"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Options of one training run; the field metadata holds what people read about them.

    The defaults are those of preset ``balanced``; :func:`train_options` applies the others.

    Raises
    ------
    InputError
        If a name is unknown (the message lists the choices) or a number is out of its range.
    """

    preset: str = field(
        default=Preset.BALANCED, metadata={"help": "defaults of all options below", "choices": Preset}
    )
    backbone: str = field(default="mobilenet_v2", metadata={"help": "network that finds the features"})
    output_stride: int = field(
        default=16,
        metadata={"help": "pixels per feature: 16, or 8 (finer, slower)", "minimum": 8, "maximum": 16},
    )
    weights: str = field(
        default="imagenet",
        metadata={"help": "where to start: imagenet (a download), none, or a file or RUN of weights"},
    )
    loss: str = field(default=Loss.SELF, metadata={"help": "what to train on", "choices": Loss})
    relaxation: str = field(default=SOLVER.relaxation, metadata=_SOLVER["relaxation"])
    cross_entropy: str = field(default=SOLVER.cross_entropy, metadata=_SOLVER["cross_entropy"])
    neighborhood: str = field(default=SOLVER.neighborhood, metadata=_SOLVER["neighborhood"])
    # three times the solver's: its own pseudo-labels, of three times the weight in the loss
    eta: float = field(default=0.9, metadata={**_SOLVER["eta"], "help": "weight of the pseudo-labels"})
    lambda_: float = field(default=18.0, metadata=_SOLVER["lambda_"])
    bandwidth: float = field(default=SOLVER.bandwidth, metadata=_SOLVER["bandwidth"])
    reach: float = field(default=SOLVER.reach, metadata=_SOLVER["reach"])
    sweeps: int = field(
        default=5, metadata={"help": "sweeps of the solver per batch", "minimum": 1, "maximum": 10_000}
    )
    normalisation: str = field(
        default=Normalisation.MEANS,
        metadata={"help": "what loss terms are divided by", "choices": Normalisation},
    )
    hard_labels: str = field(
        default=HardLabels.ARGMAX,
        metadata={"help": "loss hard only: where its labels come from", "choices": HardLabels},
    )
    class_balance: float = field(
        default=1.0,
        metadata={
            "help": "how many times a stroke pixel of a rare class may count, to balance classes (1: once)",
            "minimum": 1.0,
            "maximum": 1000.0,
        },
    )
    label_noise: float = field(
        default=0.0,
        metadata={
            "help": "share of pixels without a stroke whose pseudo-label is a random class, to see what it does",
            "minimum": 0.0,
            "maximum": 1.0,
        },
    )
    entropy: float | None = field(
        default=None,
        metadata={
            "help": "loss gd only: weight of the entropy (none: as eta)",
            "minimum": 0.0,
            "maximum": 100.0,
        },
    )
    epochs: int = field(
        default=40,
        metadata={"help": "passes through the images, both stages", "minimum": 1, "maximum": 100_000},
    )
    warmup: float = field(
        default=0.5,
        metadata={
            "help": "share of the epochs trained on the strokes alone, at first",
            "minimum": 0.0,
            "maximum": 1.0,
        },
    )
    restart: bool = field(
        default=False,
        metadata={"help": "begin the second stage with a fresh optimiser at --lr-self (else one schedule)"},
    )
    samples: int = field(
        default=100,
        metadata={
            "help": "least crops per epoch: fewer images are taken several times",
            "minimum": 1,
            "maximum": 1_000_000,
        },
    )
    val_every: int = field(
        default=1, metadata={"help": "epochs from one score to the next", "minimum": 1, "maximum": 100_000}
    )
    batch: int = field(
        default=6, metadata={"help": "crops per step and process", "minimum": 1, "maximum": 4096}
    )
    accumulate: int = field(
        default=1,
        metadata={"help": "batches whose gradients make one step", "minimum": 1, "maximum": 4096},
    )
    resize: int | None = field(
        default=None,
        metadata={
            "help": "longer side images are first shrunk to, in pixels",
            "minimum": 16,
            "maximum": 100_000,
        },
    )
    crop: int = field(
        default=321, metadata={"help": "side of the crops, in pixels", "minimum": 16, "maximum": 10_000}
    )
    crops: str = field(default=Crops.RANDOM, metadata={"help": "where crops lie", "choices": Crops})
    scale_low: float = field(
        default=0.5, metadata={"help": "least random zoom", "minimum": 0.05, "maximum": 20.0}
    )
    scale_high: float = field(
        default=2.0, metadata={"help": "largest random zoom", "minimum": 0.05, "maximum": 20.0}
    )
    flip: float = field(
        default=0.5, metadata={"help": "chance of a mirrored crop", "minimum": 0.0, "maximum": 1.0}
    )
    blur: float = field(
        default=0.5, metadata={"help": "chance of a blurred crop", "minimum": 0.0, "maximum": 1.0}
    )
    lr: float = field(
        default=0.0035,
        metadata={
            "help": "learning rate of the backbone; the rest has ten times",
            "minimum": 0.0,
            "maximum": 10.0,
        },
    )
    lr_self: float = field(
        default=0.0007,
        metadata={"help": "the same in the second stage, with --restart", "minimum": 0.0, "maximum": 10.0},
    )
    momentum: float = field(
        default=0.9, metadata={"help": "momentum of SGD", "minimum": 0.0, "maximum": 0.9999}
    )
    weight_decay: float = field(
        default=5e-4, metadata={"help": "weight decay of SGD", "minimum": 0.0, "maximum": 1.0}
    )
    batch_norm: str = field(
        default=BatchNorm.AUTO, metadata={"help": "batch normalisation while training", "choices": BatchNorm}
    )
    dropout: float = field(
        default=0.5, metadata={"help": "dropout of the decoder", "minimum": 0.0, "maximum": 0.95}
    )
    precision: str = field(default=Precision.AUTO, metadata={"help": "number format", "choices": Precision})
    seed: int = field(
        default=0, metadata={"help": "of all random choices", "minimum": 0, "maximum": 2**31 - 1}
    )
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, mps"})
    workers: int | None = field(
        default=None,
        metadata={
            "help": "processes that load images (none: 4 beside a GPU, else 0)",
            "minimum": 0,
            "maximum": 256,
        },
    )
    unlabelled: int | None = field(
        default=None,
        metadata={
            "help": "value of pixels without a stroke (none: what the folder says)",
            "minimum": 0,
            "maximum": 255,
        },
    )
    ignore: int = field(
        default=255, metadata={"help": "value that masks leave out", "minimum": 0, "maximum": 255}
    )
    length_ratio: float = field(
        default=1.0,
        metadata={"help": "share of every stroke's length to use", "minimum": 0.0, "maximum": 1.0},
    )
    early_stop: int | None = field(
        default=None,
        metadata={
            "help": "epochs without a score as good as the best before a run ends, in the second stage "
            "(none: all epochs)",
            "minimum": 1,
            "maximum": 100_000,
        },
    )
    held_out: float = field(
        default=0.1,
        metadata={
            "help": "share of every class's strokes kept to score on without --val, at least one of two",
            "minimum": 0.0,
            "maximum": 0.9,
        },
    )

    def __post_init__(self) -> None:
        check_fields(self)
        if self.output_stride not in (8, 16):
            raise InputError(f"Expected output_stride to be 8 or 16, but got {self.output_stride}.")
        if self.scale_low > self.scale_high:
            raise InputError(
                f"Expected scale_low to be at most scale_high, but got {self.scale_low:g} and {self.scale_high:g}."
            )


# The learning rate goes with the batch: the paper's 0.007 is for 12 crops.
PRESETS: dict[Preset, dict[str, Any]] = {
    Preset.FAST: {
        "epochs": 10,
        "samples": 40,
        "batch": 4,
        "lr": 0.001,  # few images are not learned at 0.0025: docs/results.md
        "crop": 257,
        "crops": Crops.STROKES,
        "batch_norm": BatchNorm.FEW,
        "early_stop": 3,
    },
    Preset.BALANCED: {},
    Preset.PAPER: {
        "epochs": 120,
        "restart": True,
        "samples": 1,
        "batch": 12,
        "lr": 0.007,
        "crop": 513,
        "eta": SOLVER.eta,
        "lambda_": SOLVER.lambda_,
        "normalisation": Normalisation.SEEDS,
        "batch_norm": BatchNorm.TRAIN,
        "sweeps": 25,
        "held_out": 0.0,
    },
}


FREE = ("device", "workers")
"""Options that do not change what is computed."""

SECOND_STAGE = (
    "loss",
    "relaxation",
    "cross_entropy",
    "neighborhood",
    "eta",
    "lambda_",
    "bandwidth",
    "reach",
    "sweeps",
    "normalisation",
    "hard_labels",
    "label_noise",
    "entropy",
    "lr_self",
    "early_stop",
)
"""Options that change nothing before the second stage begins."""


def train_options(**given: Any) -> TrainOptions:
    """Return the options of the preset named in `given`, changed by the rest of `given`.

    Raises
    ------
    InputError
        If a name is no option, or a value is wrong.
    """
    names = [spec.name for spec in fields(TrainOptions)]
    for name in given:
        if name not in names:
            raise InputError(f"Unknown training option {name!r}; the options are: {', '.join(names)}.")
    preset = Preset.named(given.get("preset", Preset.BALANCED))
    return TrainOptions(**{**PRESETS[preset], **given})


def as_json(options: TrainOptions) -> dict[str, Any]:
    """Return the options as JSON can hold them."""
    return {name: str(value) if isinstance(value, str) else value for name, value in asdict(options).items()}


def completed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return options as a run's folder keeps them; one that came after the run has its default."""
    return {**as_json(TrainOptions()), **stored}
