"""What a person sets once for all images, on our page of napari's Preferences.

The page, its texts, limits and defaults are declared in ``napari.yaml``; napari keeps the values.
"""

from dataclasses import dataclass, fields
from typing import Any

from napari.settings import get_plugin_settings

PLUGIN, PAGE = "napari-softseg", "painting"


@dataclass(frozen=True, slots=True)
class Preferences:
    """The values of one moment."""

    device: str = "auto"
    """Device that a new dock solves on: auto, cpu, cuda or mps."""
    solve_after_every_stroke: bool = True
    """Whether a new dock solves at once."""
    threads: int = 0
    """Threads of the CPU that a solve uses; 0 for all cores but one."""
    autosave_seconds: float = 0.2
    """How long after a stroke it is written into an open project."""


def preferences() -> Preferences:
    """Return what is set now."""
    page = preferences_page()
    if page is None:
        return Preferences()
    return Preferences(**{spec.name: getattr(page, spec.name) for spec in fields(Preferences)})


def preferences_page() -> Any | None:
    """Return napari's model of our page; its ``events`` tell of changes.

    None where napari knows no such page, because the plugin is disabled and a dock was added by a script.
    """
    return getattr(get_plugin_settings().get(PLUGIN), PAGE, None)
