"""Opens our docks beside each other."""

from typing import Any

from napari_softseg.errors import InputError

PLUGIN = "napari-softseg"
PROJECT, TRAIN = "Project", "Train"
"""Docks by the names under which napari offers them."""


def open_dock(viewer: Any, name: str) -> None:
    """Open the dock of this name as a tab beside the others, or bring it to the front.

    Raises
    ------
    InputError
        If this installation lacks it, or a library that it needs.
    """
    try:
        dock, _ = viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True)
    except KeyError:
        raise InputError(
            f"This installation has no dock {name!r}: reinstall napari-softseg and enable it under Plugins."
        ) from None
    except ImportError as error:
        raise InputError(f"The dock {name!r} lacks a library: {error}; pip install it.") from None
    dock.show()
    dock.raise_()
