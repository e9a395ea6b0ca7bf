"""The command ``napari-softseg``.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from napari_softseg import __version__
from napari_softseg.cli import compare, demo, evaluate, export, predict, report, solve, train
from napari_softseg.cli.config_file import parsed
from napari_softseg.errors import InputError

PROGRAM = "napari-softseg"
OK, BAD_INPUT, INTERRUPTED, UNREAD = 0, 2, 130, 141

_ROOM = "; free some space, or choose another folder"
_LEAVE = "; check who may read and write it, or choose another"
_WAYS_OUT = {errno.ENOSPC: _ROOM, errno.EDQUOT: _ROOM, errno.EACCES: _LEAVE, errno.EPERM: _LEAVE}


class _Parser(argparse.ArgumentParser):
    """Reports a wrong argument as one line, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    argv
        Arguments without the program's name; those of the process if None.

    Returns
    -------
    int
        0 if all went well, 1 if a training diverged, 2 on bad input or if a file cannot be read or written
        (one line on stderr says why), 130 if interrupted with Ctrl-C, 141 if nobody reads what it prints.
    """
    try:
        code = _run(argv)
        _flush()  # what cannot be printed is found here rather than when Python ends
    except InputError as error:
        return _fail(str(error))
    except BrokenPipeError:
        _drop_output()
        return UNREAD
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno or 0, "")
        code = _fail(f"{error.filename or 'input or output'}: {error.strerror or error}{way_out}")
        _drop_output()
        return code
    except KeyboardInterrupt as interrupt:
        print(f"{PROGRAM}: interrupted; {str(interrupt) or 'nothing was written.'}", file=sys.stderr)
        return INTERRUPTED
    return code


def _run(argv: Sequence[str] | None) -> int:
    parser = _make_parser()
    try:
        arguments = parsed(parser, argv)
        if arguments.command is None:
            parser.print_help()
            return BAD_INPUT
        code: int = arguments.run(arguments)
    except SystemExit:  # argparse after --help and --version
        return OK
    return code


def _flush() -> None:
    if sys.stdout is not None:  # closed by whoever called
        sys.stdout.flush()


def _drop_output() -> None:
    """Let what cannot be printed go, or Python would complain of it once more at its end."""
    try:
        _flush()
    except OSError:
        with suppress(OSError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a device
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM, description="From scribbles to soft pseudo-labels for training segmentation networks."
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    solve.add_command(commands)
    train.add_command(commands)
    predict.add_command(commands)
    evaluate.add_command(commands)
    export.add_command(commands)
    report.add_command(commands)
    compare.add_command(commands)
    demo.add_command(commands)
    return parser


def _fail(message: str) -> int:
    print(f"{PROGRAM}: error: {' '.join(message.split())}", file=sys.stderr)
    return BAD_INPUT
