"""One run of a sweep, new or resumed: its folder, ledger, record and progress around the runner."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from filelock import FileLock, Timeout

from platform.cli.progress import Progress
from platform.cli.reporting import make_report
from platform.cli.signals import INTERRUPTED, Grace
from platform.cli.summary import commands, resume_command, summary, sync_command
from platform.cli.timing import Phases, trial_times
from platform.execution import reuse
from platform.execution.failures import is_disk_full
from platform.plan import estimate, resources, weights
from platform.plan.limits import Limits
from platform.plan.plan import Plan, is_abandoned, write_plan
from platform.plan.resources import Machine
from platform.search.ledger import Ledger
from platform.storage import manifest
from platform.storage.lease import InUseError
from platform.storage.replica import Copy, driving, place
from platform.storage.results import result_row, write_environment, write_results
from platform.tracking.recorder import Recorder, SweepStatus
from trainables.data import Dataset
from trainables.utils.errors import UserError
from trainables.utils.text import counted

FINISHED, SOME_FAILED = 0, 1


def run(
    plan: Plan,
    *,
    resume: bool = False,
    retry_failed: bool = False,
    reuse_others: bool = True,
    limits: Limits | None = None,
    tracking_uri: str | None = None,
    report: bool = True,
    address: str | None = None,
    machines: Sequence[Machine] = (),
    debug: bool = False,
    stream: TextIO = sys.stdout,
) -> int:
    """Runs a sweep to its end or to an interruption, records it and tells how it went.

    Args:
        plan: the sweep.
        resume: go on with its folder, which exists.
        retry_failed: run its failed trials again.
        reuse_others: take over equal trials that other sweeps of the storage have run.
        limits: of this session.
        tracking_uri: of an MLflow server; by default `mlflow.db` in the storage folder.
        report: make the report of a sweep that ended.
        address: of a cluster that this process has joined; None for a Ray of its own.
        machines: that trials run on; this one unless given.
        debug: lets Ray's own log through.
        stream: for progress and the table.

    Returns:
        The exit status: 0 all finished, 1 some failed, 130 interrupted.

    Raises:
        UserError: what the user gave cannot be run; a new sweep then leaves no folder.
    """
    phases = Phases("to start")
    plan.storage.mkdir(parents=True, exist_ok=True)
    grace = Grace()
    copy = Copy(plan)
    with _sole_driver(plan), copy.held(new=not resume), grace.of_sigterm():
        weights.check_all(plan)
        datasets = manifest.load_all(plan)
        if resume:
            copy.take()
        with _folder(plan, resume=resume):
            ledger, recorder = _open(
                plan, datasets.values(), resume=resume, tracking_uri=tracking_uri
            )
        if retry_failed and ledger.retry_failed():
            ledger.recover()  # a session that was killed may have run them already
        taken = reuse.take_over(plan, ledger, datasets, copy) if reuse_others else []
        _catch_up(plan, ledger, recorder)
        copy.begin()
        session = _Session(
            plan,
            ledger,
            recorder,
            phases,
            limits or Limits(),
            copy,
            tracking_uri,
            stream,
            report,
            address=address,
            machines=tuple(machines),
        )
        try:
            session.taken = len(taken)
            grace.late = session.end_late
            return session.drive(debug=debug)
        except UserError:
            if not resume and ledger.outstanding() == plan.total:
                shutil.rmtree(plan.folder, ignore_errors=True)
                copy.drop()
            raise


@contextlib.contextmanager
def _sole_driver(plan: Plan) -> Iterator[None]:
    lock = driving(plan.storage, plan.name)
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
def _folder(plan: Plan, *, resume: bool) -> Iterator[None]:
    """The sweep's folder; a new one that cannot be furnished is taken away again."""
    if not resume:
        if is_abandoned(plan.folder):
            shutil.rmtree(plan.folder)
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
    plan: Plan, datasets: Collection[Dataset], *, resume: bool, tracking_uri: str | None
) -> tuple[Ledger, Recorder]:
    if resume:
        ledger = Ledger.open(plan)
        manifest.refuse_others(plan, datasets)
    else:
        ledger = Ledger.create(plan)
        manifest.write_manifests(plan, datasets)
        # by it a sweep is known: whoever finds one finds all that it needs
        write_plan(plan)
    write_environment(plan.folder)
    with FileLock(plan.storage / ".mlflow.lock"):  # MLflow's first use of a file is not locked
        recorder = Recorder(plan, tracking_uri)
    if resume:
        ledger.recover()
    return ledger, recorder


def _catch_up(plan: Plan, ledger: Ledger, recorder: Recorder) -> int:
    """Records what ended and was not recorded before an earlier session was lost; how many."""
    recorded, failed = recorder.finished_before(), recorder.failed_before()
    pruned = recorder.pruned_before()
    count = 0
    for entry in ledger.entries():
        if entry.state == "finished" and entry.trial.key not in recorded:
            recorder.finished(entry.trial, dict(entry.result))
            count += 1
        if entry.state == "failed" and entry.trial.key not in failed:
            recorder.failed(entry.trial, entry.cause, entry.message)
            count += 1
        if entry.state == "pruned" and entry.trial.key not in pruned:
            recorder.pruned(entry.trial, entry.result["metrics"])
            count += 1
    return count


@dataclass
class _Session:
    """A sweep that is open, from its first line on the terminal to its last."""

    plan: Plan
    ledger: Ledger
    recorder: Recorder
    phases: Phases
    limits: Limits
    copy: Copy
    tracking_uri: str | None
    stream: TextIO
    report: bool = True
    taken: int = 0
    address: str | None = None
    machines: tuple[Machine, ...] = ()

    def drive(self, *, debug: bool) -> int:
        """Runs what is outstanding; returns the exit status."""
        from platform.execution import tune
        from platform.execution.scheduler import SweepRun

        plan, ledger = self.plan, self.ledger
        progress = Progress(
            plan,
            self.stream,
            at_once=resources.concurrency(plan, *self.machines),
            trial_s=lambda trial: estimate.trial_seconds(trial.config, plan),
            entries=tuple(ledger.entries()),
            total=ledger.total,
        )
        self._tell(self._opening())
        status: SweepStatus = "failed"
        reason = ""
        try:
            if ledger.outstanding():
                sweep = SweepRun(
                    plan=plan,
                    ledger=ledger,
                    listeners=(self.recorder, progress),
                    limits=self.limits,
                    replica=self.copy,
                    elapsed_s=self.phases.elapsed,
                    begin_phase=self.phases.begin,
                    tell_shared_work=progress.stage,
                    address=self.address,
                    debug=debug,
                )
                outcome = tune.run(sweep)
                status = "interrupted" if outcome.interrupted else "finished"
                reason = outcome.reason
            else:
                status = "finished"
        except KeyboardInterrupt:
            status = "interrupted"
        except Exception as error:
            if not is_disk_full(error):
                raise
            status, reason = "interrupted", "the disk is full: free some room"
        finally:
            progress.close()
            self.phases.begin("for the record")
            rows = self._write_results()
            self.recorder.close(status)
        self._tell(["", *summary(plan, rows), ""])
        report = self._report() if status == "finished" and self.report else []
        times = [f"Time: {self.phases.describe()}.", *trial_times(ledger.entries())]
        self._tell([*times, "", *report])
        lacking = self.copy.give()
        ended = self._end(status, reason)
        if lacking:
            self._tell([f"error: {lacking}"])
        return ended or int(bool(lacking))

    def _report(self) -> list[str]:
        self.phases.begin("for the report")
        try:
            return [make_report(self.plan, self.tracking_uri)]
        except KeyboardInterrupt:
            return []  # all is recorded, and another command makes it

    def end_late(self) -> None:
        """The last words of a session whose main thread is stuck in a Ray that died."""
        self.ledger.interrupt()
        self._write_results()
        self.recorder.close("interrupted", most_s=5.0)
        self._end("interrupted", "")
        self.copy.give()

    def _opening(self) -> list[str]:
        plan, counts = self.plan, self.ledger.counts()
        ended = counts["finished"] + counts["failed"] + counts["pruned"]
        done = f", {ended} of them done before" if ended else ""
        if self.taken:
            done += f" ({self.taken} by other sweeps of {place(plan)}; --no-reuse runs them anew)"
        return [
            f"Sweep {plan.name}: {plan.question}",
            f"{counted(self.ledger.total(), 'trial')}{done}, "
            f"{resources.concurrency(plan, *self.machines)} at once{self._where()}, "
            f"in {place(plan)}/{plan.name}/",
        ]

    def _where(self) -> str:
        return "" if self.address is None else f" on {resources.describe(*self.machines)}"

    def _write_results(self) -> list[dict[str, Any]]:
        rows = [
            result_row(
                self.plan,
                entry.trial,
                entry.state,
                entry.result,
                failure=entry.cause,
                duration_s=entry.duration_s or None,
            )
            for entry in self.ledger.entries()
        ]
        try:
            write_results(self.plan.folder, rows)
        except OSError as error:
            if not is_disk_full(error):
                raise
        return rows

    def _end(self, status: SweepStatus, reason: str) -> int:
        """The last lines: what MLflow lacks, how to go on, where to look."""
        plan, recorder = self.plan, self.recorder
        if recorder.missed:
            missing = counted(len(recorder.missed), "event")
            self._tell(
                [
                    f"MLflow at {recorder.shown_uri} has not taken {missing} of the record; "
                    f"everything is in {plan.folder}/, and this brings it up to date:",
                    f"  {sync_command(plan, self.tracking_uri)}",
                ]
            )
        if status == "interrupted":
            left = self.ledger.outstanding()
            why = f"Stopped: {reason}. " if reason else "Interrupted: "
            total = counted(self.ledger.total(), "trial")
            outstanding = f"{left} of {total} outstanding. To go on:"
            again = resume_command(plan, self.tracking_uri, self.address)
            self._tell([why + outstanding, f"  {again}"])
            return INTERRUPTED
        self._tell(commands(plan, recorder.shown_uri, recorder.variants_page))
        return SOME_FAILED if self.ledger.counts()["failed"] else FINISHED

    def _tell(self, lines: list[str]) -> None:
        self.stream.write("\n".join(lines) + "\n")
        self.stream.flush()


def sync(plan: Plan, *, tracking_uri: str | None = None, stream: TextIO = sys.stdout) -> int:
    """Records in MLflow what a sweep's folder holds and its record lacks; starts nothing.

    Args:
        plan: the sweep.
        tracking_uri: of an MLflow server; by default `mlflow.db` in the storage folder.
        stream: for what was done.

    Returns:
        The exit status: 0, or 1 where MLflow did not take all of it.

    Raises:
        UserError: the sweep runs, its folder is damaged, or MLflow cannot be used.
    """
    copy = Copy(plan)
    with _sole_driver(plan), copy.held():
        copy.take()
        ledger = Ledger.open(plan)
        with FileLock(plan.storage / ".mlflow.lock"):
            recorder = Recorder(plan, tracking_uri)
        ledger.recover()
        count = _catch_up(plan, ledger, recorder)
        copy.begin()
        recorder.close("interrupted" if ledger.outstanding() else "finished")
        lacking = copy.give()
    missed = f"; it has not taken {counted(len(recorder.missed), 'event')}"
    stream.write(
        f"Sweep {plan.name}: {counted(count, 'trial')} added to the record in MLflow at "
        f"{recorder.shown_uri}{missed if recorder.missed else ''}\n"
        + (f"error: {lacking}\n" if lacking else "")
    )
    return SOME_FAILED if recorder.missed or lacking else FINISHED
