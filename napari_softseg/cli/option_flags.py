"""Flags of the command line, generated from the fields of SolveOptions and TrainOptions."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, fields
from functools import partial
from typing import Any

from napari_softseg.errors import InputError
from napari_softseg.options import SolveOptions, Unary, checked_field

_UNARY = next(spec for spec in fields(SolveOptions) if spec.name == "unary")


def add_option_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag per field of SolveOptions, with its default."""
    add_field_flags(parser.add_argument_group("how to solve"), SolveOptions, _solve_default)


def add_field_flags(
    group: Any,
    options: type[Any],
    default_of: Callable[[Field[Any]], tuple[Any, str]],
    without: Iterable[str] = (),
) -> None:
    """Add one flag per field: ``lambda_`` becomes ``--lambda``, ``max_sweeps`` ``--max-sweeps``.

    Parameters
    ----------
    group
        Of argparse.
    options
        A frozen dataclass of options.
    default_of
        Returns a field's default, and what people read of it.
    without
        Fields that get no flag.
    """
    for spec in fields(options):
        if spec.name in without:
            continue
        default, shown = default_of(spec)
        given: dict[str, Any] = {"dest": spec.name, "default": default, "help": _help(spec, shown)}
        if str(spec.type) == "bool":
            given["action"] = argparse.BooleanOptionalAction
        else:
            given["type"] = unary_or_path if spec.name == "unary" else partial(_checked, spec)
            given["metavar"] = _metavar(spec)
        group.add_argument(flag_of(spec.name), **given)


def given_fields(arguments: argparse.Namespace, options: type[Any]) -> dict[str, Any]:
    """Return the fields that were given, of flags whose default is ``argparse.SUPPRESS``."""
    return {spec.name: getattr(arguments, spec.name) for spec in fields(options) if spec.name in arguments}


def chosen_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the value of every field of SolveOptions."""
    return {spec.name: getattr(arguments, spec.name) for spec in fields(SolveOptions)}


def flag_of(name: str) -> str:
    """Return the flag of a field."""
    return "--" + name.rstrip("_").replace("_", "-")


def _checked(spec: Field[Any], text: str) -> Any:
    """Convert for argparse, which puts the flag before the message."""
    try:
        return checked_field(spec, text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None


def unary_or_path(text: str) -> str:
    """Return a unary's name, or a path as it is."""
    return text if _is_path(text) else str(_checked(_UNARY, text))


def is_unary_name(text: str) -> bool:
    """Return whether `text` names a unary rather than a file."""
    return text in list(Unary)


def _solve_default(spec: Field[Any]) -> tuple[Any, str]:
    return spec.default, str(spec.default)


def _is_path(text: str) -> bool:
    return "." in text or "/" in text or "\\" in text


def _metavar(spec: Field[Any]) -> str:
    if spec.name in ("unary", "weights"):
        return "NAME|PATH"
    if "choices" in spec.metadata:
        return "NAME"
    return {"int": "N", "float": "X"}.get(str(spec.type).removesuffix(" | None"), "NAME")


def _help(spec: Field[Any], default: str) -> str:
    lines = [f"{spec.metadata['help']} (default: {default})"]
    choices: Mapping[str, Any] = spec.metadata.get("choices", {})
    lines += [f"  {choice:<12} {choice.explanation}" for choice in choices]  # type: ignore[attr-defined]
    if spec.name == "unary":
        lines.append(f"  {'PATH':<12} probabilities (K, H, W), classes ascending: .npy or TIFF")
    return "\n".join(lines).replace("%", "%%")
