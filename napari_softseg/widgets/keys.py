"""Keys on the scribbles layer and the viewer: free ones, since napari has taken 1-7, E P F L Z M X B - = [ ]."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from app_model.types import KeyCode, KeyCombo, KeyMod
from napari.components import ViewerModel
from napari.layers import Labels

if TYPE_CHECKING:
    from napari_softseg.widgets.session import ScribbleSession

SOLVE, STOP, TOGGLE, NEXT_SPOT = "solve", "stop", "toggle result", "next uncertain spot"

ACTIONS: dict[KeyCode | KeyCombo, str] = {
    KeyCode.KeyS: SOLVE,
    KeyCode.KeyD: STOP,
    KeyCode.KeyT: TOGGLE,
    KeyCode.KeyN: NEXT_SPOT,
}
STEPS: dict[KeyCode | KeyCombo, int] = {KeyCode.KeyQ: -1, KeyCode.KeyW: +1}
IMAGE_STEPS: dict[KeyCode | KeyCombo, int] = {KeyCode.PageUp: -1, KeyCode.PageDown: +1}
"""On the viewer, while a project is open: an image may have no scribbles yet."""
DIGITS: dict[KeyCode | KeyCombo, int] = {
    KeyMod.CtrlCmd | code: number
    for number, code in enumerate(
        (
            KeyCode.Digit1,
            KeyCode.Digit2,
            KeyCode.Digit3,
            KeyCode.Digit4,
            KeyCode.Digit5,
            KeyCode.Digit6,
            KeyCode.Digit7,
            KeyCode.Digit8,
            KeyCode.Digit9,
        ),
        start=1,
    )
}

KEY_HELP = (
    ("Q / W", "previous / next class"),
    ("Ctrl+1 … 9", "class by its row"),
    ("S", "solve"),
    ("D", "stop"),
    ("T", "show or hide the result"),
    ("N", "next uncertain spot"),
    ("PgUp / PgDn", "previous / next image"),
    ("2 or P", "brush"),
    ("1 or E", "eraser"),
    ("4 or F", "fill"),
    ("[ / ]", "smaller / larger brush"),
    ("Space", "hold to move and zoom"),
    ("Ctrl+Z", "undo"),
    ("Ctrl+Shift+Z", "redo"),
)
"""Our keys and the ones of napari's that painting needs."""


def bind_keys(layer: Labels, session: "ScribbleSession") -> None:
    """Bind our keys to this one layer; napari ignores key bindings in a manifest."""
    for key, action in ACTIONS.items():
        layer.bind_key(key, _slot(session.key_pressed.emit, action), overwrite=True)
    for key, step in STEPS.items():
        layer.bind_key(key, _slot(session.step_class, step), overwrite=True)
    for key, number in DIGITS.items():
        layer.bind_key(key, _slot(_select_nth, session, number), overwrite=True)


def unbind_keys(layer: Labels) -> None:
    """Take our keys off the layer."""
    for key in (*ACTIONS, *STEPS, *DIGITS):
        layer.bind_key(key, None)


def bind_image_keys(viewer: ViewerModel, step: Callable[[int], None]) -> None:
    """Bind the keys that go from image to image; `step` is told by how many."""
    for key, by in IMAGE_STEPS.items():
        viewer.bind_key(key, _slot(step, by), overwrite=True)


def unbind_image_keys(viewer: ViewerModel) -> None:
    """Take them off the viewer."""
    for key in IMAGE_STEPS:
        viewer.bind_key(key, None)


def _slot(function: Callable[..., Any], *args: Any) -> Callable[[Any], None]:
    """Return a key handler; napari takes what a handler returns for a generator, so it returns nothing."""

    def pressed(_layer_or_viewer: Any) -> None:
        function(*args)

    return pressed


def _select_nth(session: "ScribbleSession", number: int) -> None:
    values = session.classes.values
    if number <= len(values):
        session.select_class(values[number - 1])
