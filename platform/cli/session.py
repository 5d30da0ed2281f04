"""Runs an open sweep from its first line on the terminal to its last."""

from __future__ import annotations

import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TextIO

from platform.cli import messages
from platform.cli.progress import Progress
from platform.cli.requested_plan import SweepCall
from platform.cli.summary import summary, trial_times
from platform.execution.failures import file_fault
from platform.execution.scheduler import SweepRun
from platform.plan import estimate, resources
from platform.plan.plan import Plan
from platform.search.trial_queue import TrialQueue
from platform.storage.environment import ROOT
from platform.storage.replica import Replica
from platform.storage.results import result_row, write_results
from platform.tracking.client import without_password
from platform.tracking.recorder import Recorder, SweepStatus
from trainables.utils.errors import FAILED, FINISHED, INTERRUPTED
from trainables.utils.text import duration

_REPORT_MOST_S = 600.0


class Phases:
    """Measures phases that follow each other; the first begins with the object.

    Args:
        label: names the first phase, as what its time is for.
        clock: returns seconds that only grow.
    """

    def __init__(self, label: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = [(label, clock())]

    def begin(self, label: str) -> None:
        """Begins a phase and ends the one before."""
        self._began.append((label, self._clock()))

    def elapsed(self) -> float:
        """Returns the seconds since the first phase began."""
        return self._clock() - self._began[0][1]

    def describe(self) -> str:
        """Returns the time of each phase, such as `50 s: 14 s to start, 36 s of trials`."""
        ends = [*(began for _, began in self._began[1:]), self._clock()]
        parts = [
            f"{duration(end - began)} {label}"
            for (label, began), end in zip(self._began, ends, strict=True)
        ]
        return f"{duration(ends[-1] - self._began[0][1])}: {', '.join(parts)}"


@dataclass(frozen=True, kw_only=True)
class Session:
    """A sweep that is open.

    Attributes:
        call: the plan and the options.
        queue: the outstanding trials, and the ledger of those that ended.
        recorder: the record in MLflow.
        replica: the sweep's files behind the address of its storage, where that has one.
        phases: where the time of the session goes.
        reused: trials that were taken over from other sweeps.
        notes: what else is told at the beginning, a line each.
        stream: where progress and table are written.
    """

    call: SweepCall
    queue: TrialQueue
    recorder: Recorder
    replica: Replica
    phases: Phases
    reused: int
    stream: TextIO
    notes: tuple[str, ...] = ()

    def drive(self) -> int:
        """Runs what is outstanding, makes table and report, and returns the exit status."""
        call, ledger = self.call, self.queue.ledger
        counts, total = ledger.counts(), ledger.total()
        self._tell(messages.opening(call, counts, total=total, reused=self.reused))
        if self.notes:
            self._tell(list(self.notes))
        status, reason, rows = self._run_trials()
        self._tell(["", *summary(call.plan, rows), ""])
        makes_report = status == "finished" and not call.request.no_report
        report = self._report() if makes_report else []
        times = [f"Time: {self.phases.describe()}.", *trial_times(ledger.entries())]
        self._tell([*times, "", *report])
        lacking = self.replica.push()
        ended = self._end(status, reason)
        if lacking:
            self._tell([f"error: {lacking}"])
        return ended or (FAILED if lacking else FINISHED)

    def _run_trials(self) -> tuple[SweepStatus, str, list[dict[str, Any]]]:
        """Returns how the trials ended, why they stopped, and the rows of the results."""
        progress = self._progress()
        status: SweepStatus = "failed"
        reason = ""
        try:
            status, reason = self._run_outstanding(progress)
        except KeyboardInterrupt:
            status = "interrupted"
        except Exception as error:
            reason = file_fault(error)
            if not reason:
                raise
            if self.call.request.debug:
                traceback.print_exc()
            status = "interrupted"
        finally:
            progress.close()
            self.phases.begin("for the record")
            rows, fault = self._write_results()
            if fault and status == "finished":
                status, reason = "interrupted", fault
            self.recorder.close(status)
        return status, reason, rows

    def _run_outstanding(self, progress: Progress) -> tuple[SweepStatus, str]:
        from platform.execution import tune

        if not self.queue.ledger.outstanding():
            return "finished", ""
        sweep = SweepRun(
            plan=self.call.plan,
            queue=self.queue,
            listeners=(self.recorder, progress),
            limits=self.call.limits,
            replica=self.replica,
            elapsed_s=self.phases.elapsed,
            begin_phase=self.phases.begin,
            tell_shared_work=progress.tell_shared_work,
            address=self.call.request.address,
            debug=self.call.request.debug,
        )
        outcome = tune.run(sweep)
        return "interrupted" if outcome.interrupted else "finished", outcome.reason

    def _progress(self) -> Progress:
        plan = self.call.plan
        return Progress(
            plan,
            self.stream,
            at_once=resources.concurrency(plan, *self.call.machines),
            trial_s=lambda trial: estimate.trial_seconds(trial.config, plan),
            entries=tuple(self.queue.ledger.entries()),
            total=self.queue.ledger.total,
        )

    def _report(self) -> list[str]:
        self.phases.begin("for the report")
        try:
            return [make_report(self.call.plan, self.call.request.tracking_uri)]
        except KeyboardInterrupt:
            return []  # all is recorded, and another command makes it

    def end_late(self) -> None:
        """Ends a session whose main thread is stuck in a Ray that died."""
        self._write_results()
        self.recorder.close("interrupted", most_s=5.0)
        self._end("interrupted", "")
        self.replica.push()

    def _write_results(self) -> tuple[list[dict[str, Any]], str]:
        """Returns the rows of the results, and in a line why they are not in their file."""
        plan = self.call.plan
        rows = [
            result_row(
                plan,
                entry.trial,
                entry.state,
                entry.result,
                failure=entry.cause,
                duration_s=entry.duration_s or None,
            )
            for entry in self.queue.ledger.entries()
        ]
        try:
            write_results(plan.folder, rows)
        except OSError as error:
            return rows, file_fault(error)
        return rows, ""

    def _end(self, status: SweepStatus, reason: str) -> int:
        """Tells how to go on or where to look, and what MLflow lacks; returns the exit status."""
        call, ledger, recorder = self.call, self.queue.ledger, self.recorder
        uri, missed = recorder.shown_uri, recorder.missed
        lacks = messages.record_lacks(call, missed, uri, recorder.fault) if missed else []
        if status == "interrupted":
            outstanding, total = ledger.outstanding(), ledger.total()
            how = messages.interrupted(call, reason, outstanding=outstanding, total=total)
            self._tell([*lacks, *how])
            return INTERRUPTED
        self._tell([*messages.commands(call.plan, uri, recorder.variants_page), *lacks])
        return FAILED if ledger.counts()["failed"] else FINISHED

    def _tell(self, lines: list[str]) -> None:
        messages.tell(self.stream, lines)


def make_report(plan: Plan, tracking_uri: str | None) -> str:
    """Makes the report of a finished sweep, in a process of its own, and puts it into its record.

    Args:
        plan: the sweep.
        tracking_uri: the address of an MLflow server; by default `mlflow.db` in the storage.

    Returns:
        A line: where the report is, or why there is none. A sweep does not fail for it.
    """
    command = [sys.executable, "-m", "analysis.report", plan.name, "--publish"]
    command += ["--storage", str(plan.storage.resolve())]
    command += ["--tracking-uri", tracking_uri] if tracking_uri else []
    page = plan.folder / "analysis" / "report.html"
    before = page.stat().st_mtime_ns if page.is_file() else None
    try:
        # from where the packages lie, installed or not
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=_REPORT_MOST_S
        )
        errors = done.stderr.strip().splitlines() if done.returncode else []
    except (OSError, subprocess.SubprocessError) as error:
        errors = [str(error)]
    last = without_password(errors[-1].removeprefix("error: ")) if errors else ""
    if not page.is_file() or (errors and page.stat().st_mtime_ns == before):
        return f"No report was made: {last or 'it left no page'}"
    lacks = f"; the record lacks it: {last}" if last else ""
    return f"The answer on one page: {page}{lacks}"
