"""Turning to another image sets no colours anew."""

from typing import Any

from tests.gui.conftest import MakeStage, two_halves


def test_there_and_back_before_anything_is_drawn(make_stage: MakeStage) -> None:
    stage = make_stage(two_halves(seed=1), two_halves(seed=2))
    session = stage.dock.session
    first, second = session.images
    layers = []
    for image in (first, second):
        session.choose(image)
        stage.start()
        stage.paint_two_classes()
        layers.append(stage.scribbles)
    colored: list[Any] = []
    for layer in layers:
        layer.events.colormap.connect(colored.append)
    for image in (first, second, first):
        session.choose(image)
    stage.settle()
    assert colored == []  # for each napari compiles a shader
    assert layers[0].visible
    assert not layers[1].visible
    assert stage.soft.visible
    assert not stage.viewer.layers["soft labels [1]"].visible
    assert stage.viewer.layers.selection.active is layers[0]
    assert layers[0].mode == "paint"
    session.classes.recolor(1, (1, 2, 3))
    stage.settle()
    assert len(colored) == 1
