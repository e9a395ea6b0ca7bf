"""``napari-softseg compare``: the paper's comparisons in one command."""

from __future__ import annotations

import argparse
import shlex
import sys
import threading
from dataclasses import Field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_softseg.cli.config_file import add_config_flag
from napari_softseg.cli.events import Events, add_events_flag
from napari_softseg.cli.option_flags import add_field_flags, flag_of, given_fields
from napari_softseg.cli.running import add_progress_flag, interrupt_sets, shows_bar
from napari_softseg.errors import InputError
from napari_softseg.training.compare.variants import (
    SCHEDULES,
    SET_BY_VARIANTS,
    VARIANTS,
    ScheduleName,
    chosen_variants,
)
from napari_softseg.training.options import TrainOptions

if TYPE_CHECKING:
    from napari_softseg.training.compare.plan import Plan
    from napari_softseg.training.compare.runs import Outcome

DESCRIPTION = """Train every variant of the paper's comparisons and write what came out.

Every run is a train command of its own in OUT/VARIANT_seedN; the first stage, which
most of them share, is trained once. The same command again keeps finished runs and
goes on with interrupted ones. All variants with three seeds are 93 runs: begin with
--schedule tiny, or --only full,pce,soft-cd --seeds 0. OUT gets results.md with tables
and a plot, results.json and results.csv, of all that is finished in it: after Ctrl-C,
and by other commands that trained alike.

variants:
""" + "\n".join(f"  {variant.name:<20} {variant.title}" for variant in VARIANTS)


def add_command(commands: Any) -> None:
    """Add the command to the subparsers of the program."""
    parser = commands.add_parser(
        "compare",
        help="run the paper's comparisons on an annotated folder",
        description=DESCRIPTION,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("train", metavar="TRAIN", help="annotated folder with strokes, and masks for full")
    parser.add_argument("val", metavar="VAL", help="folder with masks to score on")
    parser.add_argument("-o", "--output", metavar="OUT", required=True, help="folder of runs and results")
    parser.add_argument(
        "--schedule",
        metavar="NAME",
        type=_schedule,
        default=ScheduleName.REDUCED,
        help="how long each run trains (default: reduced)\n"
        + "\n".join(f"  {name:<12} {name.explanation}" for name in ScheduleName),
    )
    parser.add_argument(
        "--only", metavar="NAMES", help="variants to run, such as full,pce,soft-* (default: all)"
    )
    parser.add_argument(
        "--seeds", metavar="N,...", type=_seeds, default=(0, 1, 2), help="seeds of each (default: 0,1,2)"
    )
    parser.add_argument("--jobs", metavar="N", type=_jobs, default=1, help="runs at a time (default: 1)")
    add_config_flag(parser)
    add_events_flag(parser)
    add_progress_flag(parser)
    group = parser.add_argument_group("how to train, instead of what the schedule says")
    add_field_flags(group, TrainOptions, _no_default, without=SET_BY_VARIANTS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run what is missing, and write the results; see `napari_softseg.cli.main` for exit codes."""
    from napari_softseg.training.compare.plan import Plan
    from napari_softseg.training.compare.results import collected
    from napari_softseg.training.compare.runs import with_earlier
    from napari_softseg.training.compare.writing import write_results

    for folder in (arguments.train, arguments.val):
        if not Path(folder).is_dir():
            raise InputError(f"{folder} is no folder; give an annotated one.")
    chosen = given_fields(arguments, TrainOptions)
    plan = Plan(
        Path(arguments.train),
        Path(arguments.val),
        Path(arguments.output),
        chosen_variants(arguments.only.split(",") if arguments.only else None),
        arguments.seeds,
        {**SCHEDULES[arguments.schedule], **chosen},
    )
    events = Events(arguments)
    events("start", runs=[run.folder.name for run in plan.runs])
    outcomes, stopped = _run(plan, arguments, events)
    where = (
        f"{len(outcomes)} of {len(plan.runs)} runs are in {plan.out}; the same command goes on from there."
    )
    if not any(outcome.scored for outcome in outcomes):
        if stopped:
            events("end", status="stopped", runs_done=len(outcomes), files=[])
            raise KeyboardInterrupt(where)
        raise InputError(f"No run ended with a score: {outcomes[0].failure}")
    results = collected(
        *with_earlier(plan, outcomes),
        schedule=arguments.schedule,
        command=_command(arguments, chosen),
        jobs=arguments.jobs,
    )
    files = write_results(results, plan.out)
    status = "stopped" if stopped else "finished"
    events("end", status=status, runs_done=len(outcomes), files=[str(file) for file in files])
    if not events.wanted:
        for finding in results.findings:
            if finding.seeds:
                print(f"{finding.verdict}: {finding.claim.text} ({finding.difference:+.2f} points)")
        print(f"Wrote {', '.join(map(str, files))}")
    if stopped:
        raise KeyboardInterrupt(where)
    return 0


def _run(plan: Plan, arguments: argparse.Namespace, events: Events) -> tuple[list[Outcome], bool]:
    """Run with a progress bar and a line per run; return what came of them, and whether it was stopped."""
    from tqdm import tqdm

    from napari_softseg.training.compare.runs import iter_runs

    wanted = shows_bar(arguments.progress)
    stop = threading.Event()
    steps = iter_runs(plan, jobs=arguments.jobs, stop=stop)
    with (
        interrupt_sets(stop),
        tqdm(file=sys.stderr, disable=not wanted, unit="run", leave=False, total=len(plan.runs)) as bar,
    ):
        while True:
            try:
                progress = next(steps)
            except StopIteration as end:
                outcomes: list[Outcome] = end.value
                break
            bar.set_postfix_str(f"{progress.name}: epoch {progress.epoch} of {progress.epochs}")
            bar.update(progress.runs_done - bar.n)
            if progress.outcome is None:
                events("epoch", run=progress.name, epoch=progress.epoch, epochs=progress.epochs)
            else:
                events("run", run=progress.name, **_scores(progress.outcome))
            if progress.outcome is not None and not events.wanted:
                bar.write(_line(progress.outcome), file=sys.stdout)
                sys.stdout.flush()
    return outcomes, stop.is_set()


def _scores(outcome: Outcome) -> dict[str, Any]:
    """Return what came of a run, as JSON can hold it: scores in %, null where there are none."""
    from napari_softseg.training.compare.results import miou

    last, best = (None if outcome.failure else miou(outcome, which) for which in ("last", "best"))
    return {
        "last": last,
        "best": best,
        "seconds": outcome.log.seconds if outcome.log else 0.0,
        "failure": outcome.failure or None,
    }


def _line(outcome: Outcome) -> str:
    from napari_softseg.training.compare.results import miou

    if outcome.failure:
        return f"{outcome.run.folder.name}: no score: {outcome.failure}"
    seconds = outcome.log.seconds if outcome.log else 0.0
    last, best = miou(outcome, "last"), miou(outcome, "best")
    return f"{outcome.run.folder.name}: mean IoU {last:.2f} %, at best {best:.2f} %, {seconds:.0f} s"


def _command(arguments: argparse.Namespace, chosen: dict[str, Any]) -> str:
    """Return the command that does the same again."""
    words = ["napari-softseg", "compare", arguments.train, arguments.val, "-o", arguments.output]
    words += ["--schedule", arguments.schedule, "--seeds", ",".join(map(str, arguments.seeds))]
    words += ["--only", arguments.only] if arguments.only else []
    words += ["--jobs", str(arguments.jobs)] if arguments.jobs > 1 else []
    for name, value in chosen.items():
        if isinstance(value, bool):
            words.append(flag_of(name) if value else f"--no-{flag_of(name)[2:]}")
        else:
            words += [flag_of(name), str(value)]
    return shlex.join(words)


def _no_default(_spec: Field[Any]) -> tuple[str, str]:
    return argparse.SUPPRESS, "the schedule's"


def _schedule(text: str) -> ScheduleName:
    try:
        return ScheduleName.named(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error).rstrip(".")) from None


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0:
        raise argparse.ArgumentTypeError(f"expected whole numbers from 0 such as 0,1,2, but got {text!r}")
    return seeds


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 64, but got {text!r}")
    return int(text)
