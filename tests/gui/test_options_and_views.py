"""The options form says what SolveOptions says; views recolour the result; the window never blocks."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QFileDialog

from napari_softseg import solve
from napari_softseg.options import DEFAULTS, CrossEntropy, Relaxation, SolveOptions
from napari_softseg.widgets.options_form import OptionsForm
from napari_softseg.widgets.solve_job import View
from tests.gui.conftest import MakeStage, Stage, two_halves
from tests.gui.hands import Pulse, drag


def test_the_form_holds_every_option_with_its_default(qtbot: QtBot) -> None:
    form = OptionsForm()
    qtbot.addWidget(form)
    assert form.options() == DEFAULTS
    for spec in fields(SolveOptions):
        if spec.name not in ("unlabelled", "spacing"):
            assert spec.metadata["help"].lower() in form[spec.name].tooltip.lower()


@pytest.mark.parametrize("relaxation", Relaxation)
@pytest.mark.parametrize("cross_entropy", CrossEntropy)
def test_the_form_gives_back_what_it_shows(
    qtbot: QtBot, relaxation: Relaxation, cross_entropy: CrossEntropy
) -> None:
    form = OptionsForm()
    qtbot.addWidget(form)
    wanted = SolveOptions(
        relaxation=relaxation,
        cross_entropy=cross_entropy,
        lambda_=12.5,
        eta=0.75,
        bandwidth=4.0,
        max_sweeps=7,
    )
    emitted: list[SolveOptions] = []
    form.changed.connect(lambda: emitted.append(form.options()))
    form.set_options(wanted)
    assert form.options() == wanted
    assert emitted == [wanted]
    assert f"{relaxation.value}: {relaxation.explanation}" in str(form["relaxation"].tooltip)


def test_without_a_first_guess_trust_in_it_is_greyed_out(qtbot: QtBot) -> None:
    form = OptionsForm()
    qtbot.addWidget(form)
    form["unary"].value = "none"
    assert not form["eta"].enabled
    assert not form["cross_entropy"].enabled
    form["unary"].value = "classifier"
    assert form["eta"].enabled


def test_weights_can_be_chosen_where_they_count(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, random_weights: str
) -> None:
    form = OptionsForm()
    qtbot.addWidget(form)
    for unary, by_network in (
        ("classifier", False),
        ("pretrained", True),
        ("none", False),
        ("pretrained", False),
    ):
        form["unary"].value, form.by_network = unary, by_network
        assert form["weights"].enabled is (unary == "pretrained" and not by_network)

    heard: list[SolveOptions] = []
    form.changed.connect(lambda: heard.append(form.options()))
    box = form["weights"].native
    for answer, weights in (("", "imagenet"), (random_weights, random_weights), ("", random_weights)):
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_args, answer=answer: (answer, ""))
        box.setCurrentIndex(box.count() - 1)  # "file…", which asks
        assert form.options().weights == weights
        assert heard[-1].weights == weights
        assert {options.weights for options in heard} <= {"imagenet", random_weights}
    assert box.currentText() == "random.pth"
    form.set_options(SolveOptions(unary="pretrained"))
    assert form.options().weights == heard[-1].weights == "imagenet"


def test_the_first_guess_sees_with_a_pretrained_network(
    stage: Stage, random_weights: str, no_downloads: Path
) -> None:
    stage.paint_two_classes()
    plain = stage.entropy.data.copy()
    stage.use_options(unary="pretrained")
    stage.settle()
    assert stage.status.startswith("Cannot get the ImageNet weights of mobilenet_v2")
    assert str(no_downloads) in stage.status
    assert stage.notifications == [stage.status]
    np.testing.assert_array_equal(stage.entropy.data, plain)  # what was there stays
    stage.use_options(unary="pretrained", weights=random_weights)
    stage.settle()
    expected = solve(two_halves(), stage.scribbles.data, unary="pretrained", weights=random_weights)
    np.testing.assert_allclose(stage.entropy.data, expected.entropy, atol=1e-5)
    assert not np.array_equal(stage.entropy.data, plain)


def test_reach_can_be_set_where_it_counts(qtbot: QtBot) -> None:
    form = OptionsForm()
    qtbot.addWidget(form)
    assert not form["reach"].enabled
    form["neighborhood"].value = "dn"
    assert form["reach"].enabled


def test_the_layers_show_what_solve_returns(stage: Stage) -> None:
    stage.paint_two_classes()
    stage.use_options(relaxation="q", lambda_=20.0, eta=0.5)
    stage.settle()
    expected = solve(two_halves(), stage.scribbles.data, relaxation="q", lambda_=20.0, eta=0.5)
    np.testing.assert_allclose(stage.entropy.data, expected.entropy, atol=1e-5)
    assert ", Q, E" in stage.status


def test_views(stage: Stage) -> None:
    stage.paint_two_classes()
    stage.use_options(relaxation="q", unary="none")  # soft everywhere
    stage.settle()
    soft = stage.soft.data.copy()
    stage.dock.view_box.activated.emit(list(View).index(View.LIKELY))
    stage.settle()
    colors = {tuple(int(c) for c in pixel) for pixel in stage.soft.data[..., :3].reshape(-1, 3)}
    assert colors == {entry.color for entry in stage.dock.session.classes}
    stage.dock.view_box.activated.emit(list(View).index(View.UNCERTAINTY))
    stage.settle()
    assert stage.entropy.visible
    assert not stage.soft.visible
    stage.dock.view_box.activated.emit(list(View).index(View.SOFT))
    stage.settle()
    assert stage.soft.visible
    assert not stage.entropy.visible
    np.testing.assert_array_equal(stage.soft.data, soft)


def test_the_dock_fits_300_pixels(stage: Stage) -> None:
    assert stage.dock.minimumSizeHint().width() <= 300
    stage.dock.form.folded.expand()
    stage.qtbot.wait(50)
    assert stage.dock.minimumSizeHint().width() <= 300


def test_devices_are_offered_once_the_solver_is_loaded(stage: Stage) -> None:
    stage.qtbot.waitUntil(lambda: bool(stage.dock.loop.devices), timeout=60_000)
    assert list(stage.dock.form["device"].choices)[:2] == ["auto", "cpu"]  # type: ignore[attr-defined]


def test_the_window_does_not_block_while_a_large_image_is_solved(make_stage: MakeStage) -> None:
    """A generous bound for shared machines; benchmarks/event_loop.py measures exactly."""
    stage = make_stage(two_halves((1024, 1024)))
    stage.start()
    drag(stage.viewer, [(300, 200), (500, 300)])
    stage.dock.session.select_class(2)
    drag(stage.viewer, [(300, 800), (500, 900)])
    stage.settle()
    pulse = Pulse()
    drag(stage.viewer, [(700, 800), (800, 900)])
    pulse.start()
    while not stage.dock.is_idle:
        stage.qtbot.wait(5)
    gaps = pulse.stop()
    assert len(gaps) > 5
    assert max(gaps) < 0.25, f"largest gap {max(gaps) * 1000:.0f} ms of {len(gaps)}"
