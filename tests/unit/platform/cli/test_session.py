"""A session of a sweep: where its time goes, and its report."""

from __future__ import annotations

import errno
import io
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform.cli.request import Request
from platform.cli.requested_plan import SweepCall
from platform.cli.session import Phases, Session, make_report
from platform.execution import tune
from platform.execution.cluster import StartError
from platform.execution.scheduler import Outcome, SweepRun
from platform.plan.build import make_plan
from platform.plan.hardware import this_machine
from platform.search.ledger import Ledger
from platform.search.trial_queue import TrialQueue
from platform.storage.replica import Replica
from search_spaces import STUDIES
from tests.helpers.ledgers import plan_in, result_of, take
from trainables.utils.addresses import StorageError
from trainables.utils.errors import DataError
from trainables.utils.waiting import HeldError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_phases_add_up_to_the_whole() -> None:
    clock = Clock()
    phases = Phases("to start", clock)
    for seconds, label in ((14, "of shared work"), (20, "of trials")):
        clock.now += seconds
        phases.begin(label)
    clock.now += 436
    assert phases.describe() == (
        "7 min 50 s: 14 s to start, 20 s of shared work, 7 min 16 s of trials"
    )


@pytest.mark.parametrize(
    ("code", "errors", "page", "line"),
    [
        (0, "", True, "The answer on one page: {folder}/analysis/report.html"),
        (0, "", False, "No report was made: it left no page"),
        (2, "x\nerror: no such sweep\n", False, "No report was made: no such sweep"),
        (
            *(2, "error: MLflow is away\n", True),
            "The answer on one page: {folder}/analysis/report.html; the record lacks it: MLflow is "
            "away",
        ),
        (2, "error: at http://a:secret@h\n", False, "No report was made: at http://***@h"),
    ],
)
def test_a_report_is_a_line_and_never_a_fault(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    errors: str,
    page: bool,
    line: str,
) -> None:
    plan = make_plan(STUDIES["quickstart"], name="a", storage=tmp_path)
    asked: list[list[str]] = []

    def made(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        if page:
            (plan.folder / "analysis").mkdir(parents=True)
            (plan.folder / "analysis" / "report.html").touch()
        return subprocess.CompletedProcess(command, code, "", errors)

    monkeypatch.setattr(subprocess, "run", made)
    assert make_report(plan, "http://host:5000") == line.format(folder=plan.folder)
    assert asked[0][1:] == [
        *("-m", "analysis.report", "a", "--publish", "--storage", str(tmp_path)),
        *("--tracking-uri", "http://host:5000"),
    ]


def test_a_report_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", slow)
    plan = make_plan(STUDIES["quickstart"], name="a", storage=tmp_path)
    assert make_report(plan, None).endswith(" timed out after 600.0 seconds")


def test_a_page_of_an_earlier_session_is_not_taken_for_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(STUDIES["quickstart"], name="a", storage=tmp_path)
    (plan.folder / "analysis").mkdir(parents=True)
    (plan.folder / "analysis" / "report.html").touch()
    failed = subprocess.CompletedProcess[str]([], 1, "", "error: no such sweep\n")
    monkeypatch.setattr(subprocess, "run", lambda command, **options: failed)
    assert make_report(plan, None) == "No report was made: no such sweep"


# --- What stops a session ----------------------------------------------------------------------


class Unrecorded:
    """A recorder that takes everything but what is `missed`, and keeps how the sweep was closed."""

    def __init__(self, missed: Counter[str] | None = None) -> None:
        self.missed = missed or Counter()
        self.fault = "no room" if missed else ""
        self.shown_uri, self.variants_page = "sqlite:///mlflow.db", "#/"
        self.closed = ""

    def close(self, status: str, most_s: float = 0.0) -> None:
        self.closed = status


def driven(
    storage: Path,
    monkeypatch: pytest.MonkeyPatch,
    trials: Callable[[SweepRun], Outcome],
    missed: Counter[str] | None = None,
) -> tuple[int, str, Unrecorded]:
    """Exit status, output and record of a session whose trials are run by a function."""
    monkeypatch.setattr(tune, "run", trials)
    plan, recorder, out = plan_in(storage), Unrecorded(missed), io.StringIO()
    told: Any = recorder
    session = Session(
        call=SweepCall(plan=plan, request=Request(no_report=True), machines=(this_machine(),)),
        queue=TrialQueue(Ledger.create(plan)),
        recorder=told,
        replica=Replica(plan),
        phases=Phases("to start"),
        reused=0,
        stream=out,
    )
    return session.drive(), out.getvalue(), recorder


def explained(error: Exception, inner: Exception) -> Exception:
    """An error that says what another one means for the user."""
    error.__cause__ = inner
    return error


def wrapped(inner: Exception) -> Exception:
    """As Ray Tune hands on what one of its callbacks raises."""
    between = KeyError("d0d0")
    between.__context__ = inner
    outer = RuntimeError("Traceback\n" * 400)
    outer.__context__ = between
    return outer


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError(errno.ESTALE, "Stale file handle", "a/tune"), "[Errno 116] Stale file handle: "),
        (OSError(errno.EROFS, "Read-only file system", "a"), "[Errno 30] Read-only file system: "),
        (wrapped(OSError(errno.EIO, "Input/output error")), "[Errno 5] Input/output error. "),
        (wrapped(OSError("a/ledger.db cannot be written (locked)")), "a/ledger.db cannot be writ"),
        (wrapped(OSError(errno.ENOSPC, "No space left")), "the disk is full: free some room. "),
        (HeldError("cache/base.lock is locked"), "cache/base.lock is locked. "),
        (StorageError("--storage s3://b cannot be used"), "--storage s3://b cannot be used. "),
    ],
)
def test_files_that_cannot_be_used_stop_a_sweep_with_its_table_and_the_command_that_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, why: str
) -> None:
    def trials(sweep: SweepRun) -> Outcome:
        first = take(sweep.queue)
        sweep.queue.finish(first, result_of(first, **{"forget/fid": 3.5}))
        raise error

    status, out, recorder = driven(tmp_path, monkeypatch, trials)
    assert status == 130
    assert any(line.startswith("Original ") for line in out.splitlines())
    assert f"\nStopped: {why}" in out
    assert "3 of 4 trials outstanding. To go on:\n" in out
    assert out.splitlines()[-1].endswith(f"--name a --resume --storage {tmp_path}")
    assert "Traceback" not in out
    assert recorder.closed == "interrupted"


@pytest.mark.parametrize(
    "error",
    [
        KeyError("bad"),
        wrapped(ZeroDivisionError("bad")),
        explained(DataError("photos/ cannot be read: mount it"), OSError(5, "I/O error")),
        explained(StartError("Ray did not start; --resume goes on"), TimeoutError("30 s")),
    ],
)
def test_a_fault_of_ours_or_of_the_user_is_no_fault_of_the_sweeps_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def trials(sweep: SweepRun) -> Outcome:
        raise error

    with pytest.raises(type(error)):
        driven(tmp_path, monkeypatch, trials)


def test_a_sweep_whose_results_cannot_be_written_has_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trials(sweep: SweepRun) -> Outcome:
        while (trial := sweep.queue.next()) is not None:
            sweep.queue.finish(trial, result_of(trial, **{"forget/fid": 3.5}))
        (sweep.plan.folder / "results.parquet").mkdir()
        return Outcome(interrupted=False)

    status, out, recorder = driven(tmp_path, monkeypatch, trials)
    assert status == 130
    assert "\nStopped: [Errno 21] Is a directory: " in out
    assert "0 of 4 trials outstanding. To go on:\n" in out
    assert recorder.closed == "interrupted"


def test_what_the_record_of_a_finished_sweep_lacks_is_told_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trials(sweep: SweepRun) -> Outcome:
        while (trial := sweep.queue.next()) is not None:
            sweep.queue.finish(trial, result_of(trial, **{"forget/fid": 3.5}))
        return Outcome(interrupted=False)

    status, out, _ = driven(tmp_path, monkeypatch, trials, Counter(files=4))
    assert status == 0
    what, why, _, command = out.splitlines()[-4:]
    assert "has not taken 4 events (files 4) of the record" in what
    assert why == "Last fault: no room."
    assert command.endswith(f"--sync a --storage {tmp_path}")
