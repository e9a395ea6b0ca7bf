"""What a network may be built from."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from napari_softseg.errors import InputError
from napari_softseg.models import Backbone, ModelConfig

CLASSES: dict[str, Any] = {"class_values": (0, 7, 255), "class_names": ("sky", "road", "car")}


def test_defaults_are_the_recipe() -> None:
    config = ModelConfig(**CLASSES)
    assert (config.backbone, config.output_stride, config.in_channels) == ("mobilenet_v2", 16, 3)
    assert config.n_classes == 3
    assert config.mean == pytest.approx((123.675, 116.28, 103.53))
    assert config.std == pytest.approx((58.395, 57.12, 57.375))


def test_statistics_for_other_numbers_of_channels() -> None:
    assert ModelConfig(**CLASSES, in_channels=1).mean == pytest.approx(((123.675 + 116.28 + 103.53) / 3,))
    five = ModelConfig(**CLASSES, in_channels=5)
    assert five.mean == pytest.approx((123.675, 116.28, 103.53, 123.675, 116.28))
    assert five.std == pytest.approx((58.395, 57.12, 57.375, 58.395, 57.12))
    assert ModelConfig(**CLASSES, in_channels=2, mean=(1, 2), std=(3, 4)).mean == (1.0, 2.0)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"backbone": "vgg16"}, "Unknown backbone 'vgg16'; choose one of: mobilenet_v2, .*resnet101"),
        ({"output_stride": 32}, "output_stride to be 8 or 16, but got 32"),
        ({"in_channels": 0}, "in_channels .* from 1 to 1024, but got 0"),
        ({"in_channels": True}, "in_channels .* but got True"),
        ({"in_channels": 2, "mean": (1.0,)}, r"mean to be 2 numbers, one per channel, but got \(1.0,\)"),
        ({"std": (1.0, 1.0, 0.0)}, "std to be > 0 for every channel, but got 0"),
        ({"std": (1.0, 1.0, float("nan"))}, "std to be 3 numbers"),
        ({"dropout": 1.0}, "dropout to be from 0 to below 1, but got 1.0"),
        ({"dropout": "a"}, "dropout .* but got 'a'"),
        ({"class_values": (0, 7, 256)}, "class_values from 0 to 255"),
        ({"class_values": (0, 7, 7)}, "two or more different values"),
        ({"class_values": (0,), "class_names": ("sky",)}, "two or more different values"),
        (
            {"class_names": ("sky", "road")},
            r"class_names to be 3 names, one per class value, but got \('sky'",
        ),
        ({"class_names": "sky"}, "class_names to be a list, but got 'sky'"),
        ({"mean": 3.0}, "mean to be a list, but got 3.0"),
    ],
)
def test_what_is_wrong_is_named(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        ModelConfig(**{**CLASSES, **wrong})


def test_through_json_and_back() -> None:
    config = ModelConfig(**CLASSES, in_channels=5, backbone="resnet18", output_stride=8, dropout=0.1)
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_json_that_lacks_or_adds_a_field_or_is_none() -> None:
    values = ModelConfig(**CLASSES).to_json()
    with pytest.raises(InputError, match="differs in dropout, heads"):
        ModelConfig.from_json({name: v for name, v in values.items() if name != "dropout"} | {"heads": 2})
    with pytest.raises(InputError, match="to be an object, but got None"):
        ModelConfig.from_json(None)


def test_every_choice_is_explained() -> None:
    assert all(choice.explanation for choice in Backbone)


def test_choices_are_listed_without_torch() -> None:
    code = "import sys; from napari_softseg.models import ModelConfig; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_networks_need_neither_qt_nor_napari() -> None:
    code = (
        "import sys; from napari_softseg.models import build_model, load_model, export_onnx, ModelConfig\n"
        "build_model(ModelConfig(class_values=(1, 2), class_names=('a', 'b')))\n"
        "assert not {'qtpy', 'napari', 'magicgui'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
