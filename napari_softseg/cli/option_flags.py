"""Flags of the command line, generated from the fields of SolveOptions."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import Field, fields
from functools import partial
from typing import Any

from napari_softseg.errors import InputError
from napari_softseg.options import SolveOptions, Unary


def add_option_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag per field: ``lambda_`` becomes ``--lambda``, ``max_sweeps`` ``--max-sweeps``."""
    group = parser.add_argument_group("how to solve")
    for spec in fields(SolveOptions):
        group.add_argument(
            flag_of(spec.name),
            dest=spec.name,
            default=spec.default,
            type=unary_or_path if spec.name == "unary" else _checker(spec.name),
            metavar=_metavar(spec),
            help=_help(spec),
        )


def chosen_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the value of every field."""
    return {spec.name: getattr(arguments, spec.name) for spec in fields(SolveOptions)}


def flag_of(name: str) -> str:
    """Return the flag of a field."""
    return "--" + name.rstrip("_").replace("_", "-")


def _checker(name: str) -> Callable[[str], Any]:
    """Return a converter for argparse, which puts the flag before the message."""
    return partial(_checked, name)


def _checked(name: str, text: str) -> Any:
    try:
        return getattr(SolveOptions(**{name: text}), name)  # type: ignore[arg-type]
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None


def unary_or_path(text: str) -> str:
    """Return a unary's name, or a path as it is."""
    return text if _is_path(text) else str(_checked("unary", text))


def is_unary_name(text: str) -> bool:
    """Return whether `text` names a unary rather than a file."""
    return text in list(Unary)


def _is_path(text: str) -> bool:
    return "." in text or "/" in text or "\\" in text


def _metavar(spec: Field[Any]) -> str:
    if spec.name == "unary":
        return "NAME|PATH"
    if "choices" in spec.metadata:
        return "NAME"
    return {"int": "N", "float": "X"}.get(str(spec.type), "NAME")


def _help(spec: Field[Any]) -> str:
    lines = [f"{spec.metadata['help']} (default: {spec.default})"]
    lines += [f"  {choice:<12} {choice.explanation}" for choice in spec.metadata.get("choices", ())]
    if spec.name == "unary":
        lines.append(f"  {'PATH':<12} probabilities (K, H, W), classes ascending: .npy or TIFF")
    return "\n".join(lines).replace("%", "%%")
