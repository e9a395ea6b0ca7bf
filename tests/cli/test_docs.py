"""The commands in the documentation are commands of this program."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from napari_softseg.cli import _make_parser

DOCS = Path(__file__).parents[2] / "docs"


def commands(page: Path) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("napari-softseg ")]


@pytest.mark.parametrize("command", commands(DOCS / "training.md"))
def test_the_command_is_understood(command: str) -> None:
    arguments = _make_parser().parse_args(shlex.split(command, comments=True)[1:])
    assert callable(arguments.run)


def test_every_option_in_the_text_exists() -> None:
    text = (DOCS / "training.md").read_text(encoding="utf-8")
    parser = _make_parser()
    (subparsers,) = (action for action in parser._actions if action.choices)
    known = {
        option
        for command in dict(subparsers.choices or {}).values()
        for action in command._actions
        for option in action.option_strings
    }
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - {"--nproc-per-node", "--logdir"}
    assert len(named) > 20
    assert named <= known
