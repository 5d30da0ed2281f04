"""One run of a sweep, new or resumed: its folder, ledger, record and progress around the runner."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

from filelock import FileLock, Timeout

from platform import estimate, images, resources, weights
from platform.ledger import Ledger
from platform.plan import Plan, write_plan
from platform.progress import Progress
from platform.results import result_row, write_environment, write_results
from platform.summary import commands, resume_command, summary
from platform.timing import Phases, trial_times
from platform.tracking import Recorder, SweepStatus
from trainables.data import Dataset
from trainables.errors import UserError

FINISHED, SOME_FAILED, INTERRUPTED = 0, 1, 130


class InUseError(UserError):
    """Another process runs this sweep."""


def run(
    plan: Plan,
    *,
    resume: bool = False,
    tracking_uri: str | None = None,
    debug: bool = False,
    stream: TextIO = sys.stdout,
) -> int:
    """Runs a sweep to its end or to an interruption, records it and tells how it went.

    Args:
        plan: the sweep.
        resume: go on with its folder, which exists.
        tracking_uri: of an MLflow server; by default `mlflow.db` in the storage folder.
        debug: lets Ray's own log through.
        stream: for progress and the table.

    Returns:
        The exit status: 0 all finished, 1 some failed, 130 interrupted.

    Raises:
        UserError: what the user gave cannot be run; a new sweep then leaves no folder.
    """
    phases = Phases("to start")
    plan.storage.mkdir(parents=True, exist_ok=True)
    with _sole_driver(plan), _sigterm_as_interrupt():
        weights.check_all(plan)
        datasets = images.load_all(plan)
        with _folder(plan, resume=resume):
            ledger, recorder = _open(plan, datasets, resume=resume, tracking_uri=tracking_uri)
        try:
            return _drive(plan, ledger, recorder, phases, tracking_uri, debug=debug, stream=stream)
        except UserError:
            if not resume and ledger.outstanding() == plan.total:
                shutil.rmtree(plan.folder, ignore_errors=True)
            raise


@contextlib.contextmanager
def _sole_driver(plan: Plan) -> Iterator[None]:
    lock = FileLock(plan.storage / f".{plan.name}.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InUseError(
            f"sweep {plan.name!r} is being run by another process: wait for it, or take "
            "another --name"
        ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM stops a sweep as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        # a script's background processes ignore Ctrl-C
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _folder(plan: Plan, *, resume: bool) -> Iterator[None]:
    """The sweep's folder; a new one that cannot be furnished is taken away again."""
    if not resume:
        try:
            plan.folder.mkdir()
        except FileExistsError:
            raise InUseError(f"--name {plan.name} is in use in {plan.storage}") from None
    try:
        yield
    except BaseException:
        if not resume:
            shutil.rmtree(plan.folder, ignore_errors=True)
        raise


def _open(
    plan: Plan, datasets: list[Dataset], *, resume: bool, tracking_uri: str | None
) -> tuple[Ledger, Recorder]:
    if resume:
        ledger = Ledger.open(plan)
        images.refuse_others(plan, datasets)
    else:
        write_plan(plan)
        ledger = Ledger.create(plan)
        images.write_manifests(plan, datasets)
    write_environment(plan.folder)
    with FileLock(plan.storage / ".mlflow.lock"):  # MLflow's first use of a file is not locked
        recorder = Recorder(plan, tracking_uri)
    if resume:
        ledger.recover()
        _catch_up(plan, ledger, recorder)
    return ledger, recorder


def _catch_up(plan: Plan, ledger: Ledger, recorder: Recorder) -> None:
    """Records what ended and was not recorded before an earlier session was lost."""
    recorded = recorder.finished_before()
    for entry in ledger.entries():
        if entry.state == "finished" and entry.trial.key not in recorded:
            folder = plan.trial_folder(entry.trial)
            recorder.trial_finished(entry.trial, folder, dict(entry.result))
        if entry.state == "failed" and entry.trial.key not in recorder.failed_before():
            recorder.trial_failed(entry.trial, entry.cause, entry.message)


def _drive(
    plan: Plan,
    ledger: Ledger,
    recorder: Recorder,
    phases: Phases,
    tracking_uri: str | None,
    *,
    debug: bool,
    stream: TextIO,
) -> int:
    from platform import runner

    progress = Progress(
        plan,
        stream,
        at_once=resources.concurrency(plan),
        trial_s=lambda trial: estimate.trial_seconds(trial.config, plan),
        entries=tuple(ledger.entries()),
    )
    _tell(stream, _opening(plan, ledger))
    status: SweepStatus = "failed"
    try:
        if ledger.outstanding():
            outcome = runner.run(plan, ledger, recorder, progress, phases, debug=debug)
            status = "interrupted" if outcome.interrupted else "finished"
        else:
            status = "finished"
    except KeyboardInterrupt:
        status = "interrupted"
    finally:
        progress.close()
        phases.begin("for the record")
        rows = _write_results(plan, ledger)
        recorder.close(status)
    times = [f"Time: {phases.describe()}.", *trial_times(ledger.entries())]
    return _end(plan, ledger, recorder, rows, times, status, tracking_uri, stream)


def _opening(plan: Plan, ledger: Ledger) -> list[str]:
    counts = ledger.counts()
    ended = counts["finished"] + counts["failed"]
    done = f", {ended} of them done before" if ended else ""
    return [
        f"Sweep {plan.name}: {plan.question}",
        f"{plan.total} trials{done}, {resources.concurrency(plan)} at once, in {plan.folder}/",
    ]


def _write_results(plan: Plan, ledger: Ledger) -> list[dict[str, Any]]:
    rows = [
        result_row(
            plan,
            entry.trial,
            entry.state,
            entry.result,
            failure=entry.cause,
            duration_s=entry.duration_s or None,
        )
        for entry in ledger.entries()
    ]
    write_results(plan.folder, rows)
    return rows


def _end(
    plan: Plan,
    ledger: Ledger,
    recorder: Recorder,
    rows: list[dict[str, Any]],
    times: list[str],
    status: SweepStatus,
    tracking_uri: str | None,
    stream: TextIO,
) -> int:
    _tell(stream, ["", *summary(plan, rows), "", *times, ""])
    if recorder.missed:
        missing = len(recorder.missed)
        _tell(
            stream,
            [
                f"MLflow at {recorder.shown_uri} missed {missing} entries of the record; "
                f"everything is in {plan.folder}/, and this brings it up to date:",
                f"  {resume_command(plan, tracking_uri)}",
            ],
        )
    if status == "interrupted":
        left = ledger.outstanding()
        _tell(stream, [f"Interrupted with {left} of {plan.total} trials outstanding. To go on:"])
        _tell(stream, [f"  {resume_command(plan, tracking_uri)}"])
        return INTERRUPTED
    _tell(stream, commands(plan, recorder.shown_uri, recorder.variants_page))
    if ledger.counts()["failed"]:
        return SOME_FAILED
    return FINISHED


def _tell(stream: TextIO, lines: list[str]) -> None:
    stream.write("\n".join(lines) + "\n")
    stream.flush()
