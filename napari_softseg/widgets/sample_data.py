"""Images for File > Open Sample, most with prepared strokes; they ship with scikit-image, no network."""

from typing import Any

from napari_softseg.samples import load_sample
from napari_softseg.widgets.tags import SCRIBBLES, TAG

LayerData = tuple[Any, dict[str, Any], str]


def sample_layers(name: str) -> list[LayerData]:
    """Return the sample's image and its scribbles as napari layer data."""
    sample = load_sample(name)
    tag = {"role": SCRIBBLES, "classes": {str(value): text for value, text in sample.classes.items()}}
    return [
        (sample.image, {"name": sample.name}, "image"),
        (sample.scribbles, {"name": SCRIBBLES, "opacity": 1.0, "metadata": {TAG: tag}}, "labels"),
    ]


def astronaut() -> list[LayerData]:
    """Return the sample ``"astronaut"``."""
    return sample_layers("astronaut")


def coffee() -> list[LayerData]:
    """Return the sample ``"coffee"``."""
    return sample_layers("coffee")


def cat() -> list[LayerData]:
    """Return the sample ``"cat"``."""
    return sample_layers("cat")


def tissue() -> list[LayerData]:
    """Return the sample ``"tissue"``."""
    return sample_layers("tissue")


def coins() -> list[LayerData]:
    """Return the halves of a photo as two images: one to paint on, one for what a network has learned there."""
    from skimage.data import coins as photo

    whole = photo()
    middle = whole.shape[1] // 2
    halves = {"coins 2": whole[:, middle:], "coins 1": whole[:, :middle]}  # the last one is on top
    return [(half, {"name": name}, "image") for name, half in halves.items()]
