"""What the documentation points at is there, and its command lines are ones that the program takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from napari_softseg.cli import _make_parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(napari-softseg [^`]+)`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def _links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for target in _LINK.findall(page.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://", "mailto:")):
                yield page, target


def _commands() -> Iterator[tuple[str, str]]:
    """Yield what follows ``napari-softseg`` or ``-m napari_softseg`` in examples that can be typed as they are."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block in _BLOCK.findall(text) for line in block.replace("\\\n", " ").splitlines()]
        for line in [*lines, *(found.replace("\n", " ") for found in _INLINE.findall(text))]:
            _, found, rest = line.partition("napari-softseg ")
            if not found:
                _, found, rest = line.partition("-m napari_softseg ")
            if found and not re.search(r"…|\.\.\.|[A-Z]{4,}", rest):
                yield page.name, rest


def _anchor(heading: str) -> str:
    """Return what a heading is linked by on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(
    ("page", "target"), [pytest.param(*link, id=f"{link[0].name}:{link[1]}") for link in _links()]
)
def test_links_lead_somewhere(page: Path, target: str) -> None:
    file, _, anchor = target.partition("#")
    path = page.parent / unquote(file) if file else page
    assert path.exists()
    if anchor:
        assert anchor in map(_anchor, _HEADING.findall(path.read_text(encoding="utf-8")))


def test_every_picture_is_shown() -> None:
    shown = {(page.parent / target).resolve() for page, target in _links()}
    assert {path for path in (ROOT / "docs" / "images").iterdir() if path.resolve() not in shown} == set()


def test_every_page_is_linked_from_the_readme_or_a_page_that_is() -> None:
    reached, new = set(), {PAGES[0]}
    while new:
        reached |= new
        new = {
            (page.parent / target.partition("#")[0]).resolve() for page, target in _links() if page in reached
        }
        new = {page for page in new if page in PAGES} - reached
    assert set(PAGES) - reached == set()


@pytest.mark.parametrize(("page", "command"), list(_commands()))
def test_command_lines_are_understood(page: str, command: str) -> None:
    words = shlex.split(re.split(r"\s#\s|[|<>;]", command)[0], comments=True)
    if words[-1] in ("--help", "--version"):
        words.pop()
    if len(words) > 1:
        assert _make_parser().parse_args(words).command == words[0], page


def test_there_are_commands_in_the_readme() -> None:
    assert sum(page == "README.md" for page, _ in _commands()) > 5
