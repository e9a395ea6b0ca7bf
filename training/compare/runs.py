"""Every run of a comparison: one ``train`` command each, in a process of its own.

A process of its own frees its memory when it ends, and whatever happens to it leaves the
others alone. What is there from before is kept: finished runs are read, others gone on with.
The first stage of runs that differ in the second alone is trained once.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from napari_softseg.errors import InputError
from napari_softseg.saving import replacing
from napari_softseg.training.compare.plan import FirstStage, Plan, PlannedRun
from napari_softseg.training.compare.variants import VARIANTS
from napari_softseg.training.options import FREE, Loss, as_json, completed
from napari_softseg.training.report.run_log import CONFIG, DIVERGED, FINISHED, RunLog, read_run


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run."""

    run: PlannedRun
    log: RunLog | None
    """None if it never began."""
    failure: str = ""
    """Why there is no score, in one line."""

    @property
    def scored(self) -> bool:
        """Whether the run ended as it should, with a score."""
        return not self.failure


@dataclass(frozen=True, slots=True)
class CompareProgress:
    """How far a comparison is: after every epoch and every run."""

    name: str
    epoch: int
    epochs: int
    runs_done: int
    runs: int
    outcome: Outcome | None
    """Of a run that has just ended."""


def iter_runs(
    plan: Plan, *, jobs: int = 1, stop: threading.Event | None = None
) -> Generator[CompareProgress, None, list[Outcome]]:
    """Run what is not finished yet; yield progress, return an outcome for every run of the plan.

    Parameters
    ----------
    plan
        What to run.
    jobs
        Runs at a time.
    stop
        Set it from elsewhere to end: runs that are on stop after their step and can be gone on with;
        then only outcomes of runs that ended are returned.

    Raises
    ------
    InputError
        If a run in the folder is one of other data or options, the folder cannot be written, or no run could
        start: images, masks or weights cannot be used.
    """
    stop = stop or threading.Event()
    runs = plan.runs
    waiting = []
    outcomes: dict[str, Outcome] = {}
    for run in runs:
        log = read_run(run.folder) if (run.folder / CONFIG).exists() else None
        for begun in (run, run.first_stage):
            if begun is not None and (begun.folder / CONFIG).exists():
                _check_same(plan, begun)
        if log is not None and log.status in (FINISHED, DIVERGED):
            outcomes[run.folder.name] = _outcome(run, log)
        else:
            waiting.append(run)
    made = not plan.out.exists()
    _make_folder(plan.out)
    try:
        _check_start(plan, waiting)
    except InputError:
        if made:
            plan.out.rmdir()
        raise
    events: queue.Queue[tuple[PlannedRun, dict[str, Any] | None]] = queue.Queue()
    epochs = {run.folder.name: 0 for run in waiting}
    locks: dict[Path, threading.Lock] = defaultdict(threading.Lock)
    with ThreadPoolExecutor(jobs) as pool:
        futures: dict[str, Future[str]] = {
            run.folder.name: pool.submit(
                _train,
                plan,
                run,
                jobs,
                stop,
                events.put,
                locks[(run.first_stage or run).folder],
            )
            for run in waiting
        }
        ended = 0
        try:
            while ended < len(waiting):
                run, event = events.get()
                name = run.folder.name
                outcome = None
                if event is None:
                    ended += 1
                    failure = futures[name].result()
                    if stop.is_set() and not failure:
                        continue
                    log = read_run(run.folder) if (run.folder / CONFIG).exists() else None
                    outcome = outcomes[name] = _outcome(run, log, failure)
                elif event["event"] == "epoch":
                    epochs[name] = event["epoch"]
                else:
                    continue
                yield CompareProgress(
                    name, epochs[name], run.options.epochs, len(outcomes), len(runs), outcome
                )
        finally:
            if ended < len(waiting):  # whoever closes this generator ends the runs
                stop.set()
    return [outcomes[run.folder.name] for run in runs if run.folder.name in outcomes]


def with_earlier(plan: Plan, outcomes: Sequence[Outcome]) -> tuple[Plan, list[Outcome]]:
    """Add what other commands have finished in the same folder on the same data, trained alike.

    Returns the plan that would have run all of it, its variants in the order of the list of all, and the
    outcomes.
    """
    ours = {run.folder for run in plan.runs}
    found = []
    for variant in VARIANTS:
        for folder in plan.out.glob(f"{variant.name}_seed*"):
            seed = folder.name.removeprefix(f"{variant.name}_seed")
            if folder in ours or not seed.isdecimal() or not (folder / CONFIG).exists():
                continue
            run = plan.run(variant, int(seed))
            try:
                _check_same(plan, run)
            except InputError:
                continue
            log = read_run(folder)
            if log.status in (FINISHED, DIVERGED):
                found.append(_outcome(run, log))
    names = {variant.name for variant in plan.variants} | {one.run.variant.name for one in found}
    variants = [variant for variant in VARIANTS if variant.name in names]
    seeds = sorted({*plan.seeds, *(one.run.seed for one in found)})
    return replace(plan, variants=variants, seeds=seeds), [*outcomes, *found]


def _check_start(plan: Plan, waiting: Sequence[PlannedRun]) -> None:
    """Raise InputError for what would fail one run after the other; full supervision may fail alone."""
    from napari_softseg.training.loop import check_start  # torch

    options = [run.options for run in waiting]
    one = next((each for each in options if each.loss != Loss.FULL), options[0] if options else None)
    if one is not None:
        check_start(plan.train, plan.val, one)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"Cannot make the folder {out}: {error.strerror or error}; choose another with -o."
        ) from None


def _check_same(plan: Plan, run: PlannedRun | FirstStage) -> None:
    """Raise InputError if the run in the folder is another one than the plan has."""
    config = json.loads((run.folder / CONFIG).read_bytes())
    then_all = completed(config["options"])
    wanted = {
        "training folder": ([str(plan.train.resolve())], config.get("folders")),
        "validation folder": (str(plan.val.resolve()), config.get("val")),
        **{
            name: (value, then_all.get(name))
            for name, value in as_json(run.options).items()
            if name not in FREE
        },
    }
    for name, (now, then) in wanted.items():
        if now != then:
            raise InputError(
                f"{run.folder} was trained with {name.rstrip('_')} {then}, but now it is {now}; "
                "compare into another folder, or delete this run."
            )


def _outcome(run: PlannedRun, log: RunLog | None, failure: str = "") -> Outcome:
    if not failure and log is not None and log.status == DIVERGED:
        failure = log.message or DIVERGED
    if not failure and (log is None or log.status != FINISHED):
        failure = "it ended without a result"
    if not failure and log is not None and (log.best is None or log.last is None):
        failure = "nothing could be scored: no class occurs in the masks"
    return Outcome(run, log, failure)


def _train(
    plan: Plan,
    run: PlannedRun,
    jobs: int,
    stop: threading.Event,
    put: Callable[[tuple[PlannedRun, dict[str, Any] | None]], None],
    alone: threading.Lock,
) -> str:
    """Train in processes, hand on their events and then None; return why one failed, or an empty text.

    Whichever run comes first trains the stage it shares, holding the lock; the others wait for it.
    """
    try:
        first = run.first_stage
        if first is not None and not (run.folder / CONFIG).exists():
            with alone:
                if not stop.is_set() and not first.done:
                    command = [*_command(plan, first), "--stop-after", str(first.epochs)]
                    failure = _run_process(command, run, jobs, stop, put)
                    if failure:
                        return failure
        if stop.is_set():
            return ""
        command = _command(plan, run)
        if first is not None:
            command += ["--first-stage", str(first.folder)]
        return _run_process(command, run, jobs, stop, put)
    finally:
        put((run, None))


def _command(plan: Plan, run: PlannedRun | FirstStage) -> list[str]:
    """Return the command of a run, its options in a file beside its folder."""
    config = run.folder.with_name(f"{run.folder.name}.yaml")
    plain = {name: str(value) if isinstance(value, str) else value for name, value in run.chosen.items()}
    with replacing(config) as (temporary,):
        temporary.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")  # JSON is YAML
    command = [sys.executable, "-m", "napari_softseg", "train", str(plan.train), "--val", str(plan.val)]
    command += ["-o", str(run.folder), "--config", str(config), "--events", "jsonl", "--no-progress"]
    return [*command, "--resume"] if (run.folder / CONFIG).exists() else command


def _run_process(
    command: list[str],
    run: PlannedRun,
    jobs: int,
    stop: threading.Event,
    put: Callable[[tuple[PlannedRun, dict[str, Any] | None]], None],
) -> str:
    environment = dict(os.environ)
    if jobs > 1:  # share the cores instead of fighting for them
        threads = str(max(1, (os.cpu_count() or 1) // jobs))
        environment = {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads, **environment}
    with (
        tempfile.TemporaryFile() as complaints,
        # A session of its own: Ctrl-C comes to this process alone, which passes it on once.
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            encoding="utf-8",
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        done = threading.Event()
        watcher = threading.Thread(target=_stop_when_asked, args=(process, stop, done))
        watcher.start()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if (event := _event(line)) is not None:
                    put((run, event))
            code = process.wait()
        finally:
            done.set()
            watcher.join()
        return "" if code in (0, 130) or stop.is_set() else _last_line(complaints) or f"exit code {code}"


def _stop_when_asked(process: subprocess.Popen[str], stop: threading.Event, done: threading.Event) -> None:
    while not done.wait(0.1):
        if stop.is_set():
            process.send_signal(signal.SIGINT)
            return


def _event(line: str) -> dict[str, Any] | None:
    """Return the event of a line; None of anything else a library may have printed."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _last_line(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").split("\n")
    written = [line.strip() for line in lines if line.strip()]
    return written[-1].removeprefix("napari-softseg: error: ") if written else ""
