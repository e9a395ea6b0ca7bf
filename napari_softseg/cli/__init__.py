"""The command ``napari-softseg``.

Nothing heavy is imported before a command runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from napari_softseg import __version__
from napari_softseg.cli import compare, demo, evaluate, export, predict, report, solve, train
from napari_softseg.cli.config_file import parsed
from napari_softseg.errors import InputError

PROGRAM = "napari-softseg"
OK, BAD_INPUT, INTERRUPTED = 0, 2, 130


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
        (one line on stderr says why), 130 if interrupted with Ctrl-C.
    """
    parser = _make_parser()
    try:
        arguments = parsed(parser, argv)
        if arguments.command is None:
            parser.print_help()
            return BAD_INPUT
        code: int = arguments.run(arguments)
    except SystemExit:  # argparse after --help and --version
        return OK
    except InputError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except KeyboardInterrupt as interrupt:
        print(f"{PROGRAM}: interrupted; {str(interrupt) or 'nothing was written.'}", file=sys.stderr)
        return INTERRUPTED
    return code


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
