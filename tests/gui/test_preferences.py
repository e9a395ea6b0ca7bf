"""Our page of Preferences: it is there, its values take effect at once, and napari keeps them."""

from dataclasses import fields

import pytest
from napari.settings import get_plugin_settings
from npe2 import PluginManifest

from napari_softseg.widgets.preferences import PAGE, PLUGIN, Preferences, preferences
from tests.gui.conftest import MakeStage, Stage, two_halves


def test_the_manifest_declares_what_is_read() -> None:
    configurations = PluginManifest.from_distribution(PLUGIN).contributions.configurations
    assert configurations is not None
    declared = configurations[PAGE].properties
    assert {name: entry.default for name, entry in declared.items()} == {
        spec.name: spec.default for spec in fields(Preferences)
    }
    assert all(entry.description for entry in declared.values())
    assert preferences() == Preferences()


def test_changes_take_effect_and_are_kept(stage: Stage) -> None:
    import torch

    page = getattr(get_plugin_settings(PLUGIN), PAGE)
    page.solve_after_every_stroke = False
    assert not stage.dock.auto_box.isChecked()
    stage.paint_two_classes()
    assert not stage.soft.data.any()
    page.threads = 3
    assert not stage.dock.auto_box.isChecked()  # what was not changed stays
    stage.dock.solve_now()
    stage.settle()
    worker = stage.dock.loop._solver._executor  # the number is each thread's own
    assert worker.submit(torch.get_num_threads).result() == 3
    page.threads = 0
    stage.qtbot.waitUntil(lambda: bool(stage.dock.loop.devices), timeout=60_000)
    page.device = "cpu"
    assert stage.dock.form["device"].value == "cpu"
    assert stage.dock.loop.options.device == "cpu"
    page.device = "mps"
    if "mps" not in stage.dock.loop.devices:
        assert "no device 'mps' here" in stage.notifications[-1]
        assert stage.dock.form["device"].value == "auto"
    stage.close_dock()
    page.device = "cpu"  # nobody listens any more

    settings_file = get_plugin_settings(PLUGIN).config_path
    assert "solve_after_every_stroke: false" in settings_file.read_text()


def test_a_new_dock_begins_with_them(make_stage: MakeStage) -> None:
    page = getattr(get_plugin_settings(PLUGIN), PAGE)
    page.solve_after_every_stroke, page.device = False, "cpu"
    stage = make_stage(two_halves())
    stage.qtbot.waitUntil(lambda: bool(stage.dock.loop.devices), timeout=60_000)
    assert not stage.dock.auto_box.isChecked()
    assert stage.dock.form["device"].value == "cpu"


def test_values_that_cannot_be() -> None:
    page = getattr(get_plugin_settings(PLUGIN), PAGE)
    for name, value in (("device", "toaster"), ("threads", -1), ("autosave_seconds", 0.0)):
        with pytest.raises(ValueError, match=name):
            setattr(page, name, value)
    assert preferences() == Preferences()
