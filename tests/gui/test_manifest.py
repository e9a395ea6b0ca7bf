"""What napari offers in its menus is what the program has."""

import pytest
from npe2 import PluginManifest

from napari_softseg.samples import SAMPLE_NAMES, load_sample


def test_every_sample_is_offered_under_its_title() -> None:
    manifest = PluginManifest.from_distribution("napari-softseg")
    offered = {sample.key: sample.display_name for sample in manifest.contributions.sample_data or []}
    painted = {name: load_sample(name).title for name in SAMPLE_NAMES}
    assert offered == {**painted, "coins": "Coins: two images without strokes"}


def test_the_dock_is_in_two_layer_menus() -> None:
    menus = PluginManifest.from_distribution("napari-softseg").contributions.menus
    assert {"napari/layers/annotate", "napari/layers/segment"} == set(menus)


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_commands_of_the_manifest_lead_somewhere(name: str) -> None:
    from napari_softseg.widgets import sample_data

    (image, image_options, _), (scribbles, _, kind) = getattr(sample_data, name)()
    assert kind == "labels"
    assert image.shape[:2] == scribbles.shape
    assert image_options["name"] == name
