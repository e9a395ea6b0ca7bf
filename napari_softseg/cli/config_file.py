"""``--config FILE``: the flags of a command from a YAML file; what the command line says wins over it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_softseg.errors import InputError

_NOT_IN_FILES = ("config", "help", "output")


def add_config_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--config`` to a command."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="YAML of the flags, as 'name: value' lines; the command line wins over it",
    )
    parser.set_defaults(configured=parser)


def parsed(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line, with the command's file of flags beneath it where one is given.

    Raises
    ------
    InputError
        If the file is no YAML of flags, or a value is one that the flag refuses.
    """
    arguments = parser.parse_args(argv)
    if getattr(arguments, "config", None) is None:
        return arguments
    path = Path(arguments.config)
    arguments.configured.set_defaults(**_defaults(path, arguments.configured))
    try:
        return parser.parse_args(argv)
    except InputError as error:  # without the file there was none
        raise InputError(f"{path}: {error}") from None


def _defaults(path: Path, command: argparse.ArgumentParser) -> dict[str, Any]:
    """Return the file's values by the names of their arguments, as text that argparse converts and checks."""
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}; check the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(content, dict):
        raise InputError(f"Expected {path} to hold options as 'name: value' lines, but got {content!r}.")
    flags = {
        action.dest.rstrip("_"): action
        for action in command._actions  # argparse has no public list of them
        if action.option_strings and action.dest not in _NOT_IN_FILES
    }
    chosen = {}
    for key, value in content.items():
        flag = flags.get(str(key).replace("-", "_").rstrip("_"))
        if flag is None:
            raise InputError(f"Unknown option {key!r} in {path}; choose one of: {', '.join(flags)}.")
        chosen[flag.dest] = _as_given(path, str(key), value, flag)
    return chosen


def _as_given(path: Path, key: str, value: Any, flag: argparse.Action) -> Any:
    """Return a value as it would be written behind its flag; a switch's as it is."""
    if flag.nargs == 0:
        if not isinstance(value, bool):
            raise InputError(f"Expected {key} in {path} to be true or false, but got {value!r}.")
        return value
    if isinstance(value, list) and not any(isinstance(part, list | dict) for part in value):
        return ",".join(map(str, value))
    if isinstance(value, list | dict):
        raise InputError(f"Expected {key} in {path} to be a single value, but got {value!r}.")
    if flag.choices is not None and value not in flag.choices:
        raise InputError(
            f"Expected {key} in {path} to be one of {', '.join(flag.choices)}, but got {value!r}."
        )
    return "none" if value is None else str(value)
