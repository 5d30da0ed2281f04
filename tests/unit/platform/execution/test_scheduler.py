"""What follows from how a trial ends: retried, failed, put back, pruned, and when no more start."""

from __future__ import annotations

import dataclasses
import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ray.exceptions import ActorDiedError, OutOfMemoryError

from platform.execution import scheduler
from platform.execution.failures import Cause, Failure, diagnose
from platform.execution.scheduler import Scheduler, SweepRun
from platform.execution.work_ahead import WorkAhead
from platform.plan.build import make_plan
from platform.plan.plan import Limits, PlannedTrial
from platform.search.ledger import FILE, Ledger
from platform.search.trial_queue import TrialQueue
from platform.storage.replica import Replica
from tests.helpers.ledgers import OUT_OF_REACH, be_impatient
from tests.helpers.studies import ONE_FAMILY
from trainables.config.names import SNAPSHOT
from trainables.utils.addresses import StorageError
from trainables.utils.errors import ConfigError, NonFiniteError
from trainables.utils.hashing import seal
from trainables.utils.waiting import HeldError


class Told:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *given: self.calls.append((name, given))

    def names(self) -> list[str]:
        return [name for name, _ in self.calls]


class Driver:
    """A session over a sweep of two trials, with its time in hand."""

    def __init__(self, storage: Path, **limits: Any) -> None:
        self.plan = make_plan(
            ONE_FAMILY,
            name="a",
            storage=storage,
            overrides=("method=original,ours", "retain_source=real", "search.trials=0"),
        )
        self.plan.folder.mkdir(parents=True)
        self.queue = TrialQueue(Ledger.create(self.plan))
        self.told: Any = Told()
        self.now = 0.0
        self.run = Scheduler(
            SweepRun(
                plan=self.plan,
                queue=self.queue,
                listeners=(self.told,),
                limits=Limits(**limits),
                replica=Replica(self.plan),
                elapsed_s=lambda: self.now,
            )
        )

    def start(self) -> PlannedTrial:
        trial = self.run.next()
        assert trial is not None
        self.run.order(trial)
        self.run.started(trial.key)
        return trial

    def folder(self, trial: PlannedTrial) -> Path:
        folder = self.plan.trial_folder(trial)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def leave_result(self, trial: PlannedTrial, objective: float = 0.5) -> None:
        metrics = {"val/objective": objective, "val/violation": -0.1}
        result = {"trial_key": trial.key, "metrics": metrics, "timing": {"total_s": 1.0}}
        path = self.folder(trial) / "result.json"
        path.write_text(json.dumps(seal(result)))  # NaN too, which `write_json` refuses

    def states(self) -> dict[str, str]:
        return {entry.trial.name: entry.state for entry in self.queue.ledger.entries()}


@pytest.mark.parametrize(
    ("cause", "max_failures", "attempts"),
    [
        ("crash", 0, 1),
        ("crash", 2, 3),
        ("worker lost", 1, 2),
        ("out of memory", 1, 2),
        ("user", 2, 1),
        ("non-finite", 2, 1),
    ],
)
def test_a_trial_is_tried_again_as_often_as_allowed_where_that_may_help(
    tmp_path: Path, cause: str, max_failures: int, attempts: int
) -> None:
    driver = Driver(tmp_path, max_failures=max_failures)
    first = driver.start()
    driver.leave_result(driver.start())
    made = 0
    while driver.states()[first.name] == "interrupted":
        trial = first if first.key in driver.run.running else driver.start()
        assert trial == first
        driver.run.ended(trial.key, Failure(cause=Cause(cause), message="bad"))
        made += 1
    assert made == attempts
    retried = [given for name, given in driver.told.calls if name == "retried"]
    assert retried == [(first, cause, "bad", lost, max_failures) for lost in range(1, attempts)]
    (failed,) = [given for name, given in driver.told.calls if name == "failed"]
    assert failed == (first, cause, "bad")


@pytest.mark.parametrize(
    ("cause", "reason"),
    [("disk", "the disk is full (bad): free some room"), ("storage", "bad")],
)
def test_what_every_trial_would_meet_ends_the_session_and_fails_none(
    tmp_path: Path, cause: str, reason: str
) -> None:
    driver = Driver(tmp_path)
    driver.run.ended(driver.start().key, Failure(cause=Cause(cause), message="bad"))
    assert driver.run.next() is None
    outcome = driver.run.outcome()
    assert (outcome.interrupted, outcome.reason) == (True, reason)
    assert set(driver.states().values()) == {"interrupted"}
    assert driver.queue.ledger.outstanding() == 2


@pytest.mark.parametrize("why", OUT_OF_REACH)
@pytest.mark.parametrize("failure", [None, Failure(cause=Cause.USER, message="bad")])
def test_an_end_that_cannot_be_recorded_stops_the_session_and_loses_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str, failure: Failure | None
) -> None:
    be_impatient(monkeypatch)
    driver = Driver(tmp_path)
    path = driver.plan.folder / FILE
    first, second = driver.start(), driver.start()
    driver.leave_result(first)
    with OUT_OF_REACH[why](path):
        driver.run.ended(first.key, failure)
        assert list(driver.run.running) == [second.key]
        assert driver.run.next() is None
    reason = f"{path} cannot be written ({why})"
    assert driver.told.calls[-1] == ("put_back", (first, "disk", reason))
    driver.leave_result(second)
    driver.run.ended(second.key, None)
    outcome = driver.run.outcome()
    assert (outcome.interrupted, outcome.reason) == (True, reason)
    assert driver.states() == {first.name: "interrupted", second.name: "finished"}
    assert TrialQueue(Ledger.open(driver.plan)).recover() == [first]


def test_a_disk_that_fails_while_a_result_is_read_does_not_run_the_trial_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(folder: Path) -> None:
        raise OSError(errno.ESTALE, "Stale file handle", str(folder))

    driver = Driver(tmp_path)
    trial = driver.start()
    driver.leave_result(trial)
    monkeypatch.setattr(scheduler, "read_result", gone)
    driver.run.ended(trial.key, None)
    assert driver.told.names()[-1] == "put_back"
    assert driver.run.outcome().reason.startswith("[Errno 116] Stale file handle: ")


def test_a_session_starts_no_more_trials_than_it_may_and_a_retry_is_no_further_one(
    tmp_path: Path,
) -> None:
    driver = Driver(tmp_path, trials=1)
    first = driver.start()
    assert driver.run.next() is None
    driver.run.ended(first.key, Failure(cause=Cause.CRASH, message="bad"))
    other = driver.start()
    driver.leave_result(other)
    driver.run.ended(other.key, None)
    assert driver.run.next() is None
    outcome = driver.run.outcome()
    assert (outcome.interrupted, outcome.reason) == (True, "1 trial started (--trials)")


def test_the_time_of_a_session_is_up_at_its_end_and_not_before(tmp_path: Path) -> None:
    driver = Driver(tmp_path, time_budget_s=60.0)
    driver.now = 45.0
    assert driver.run.seconds_left() == 15.0
    assert driver.run.outcome().reason == ""
    driver.now = 60.0
    assert driver.run.outcome().reason == "the time budget is spent"


def test_a_failure_of_a_trial_that_fell_silent_is_a_lost_worker(tmp_path: Path) -> None:
    driver = Driver(tmp_path, max_failures=0)
    trial = driver.start()
    (driver.folder(trial) / ".silent-0").touch()
    driver.run.ended(trial.key, Failure(cause=Cause.CRASH, message="bad"))
    assert driver.queue.ledger.entries()[0].cause == "worker lost"
    # what says so is gone before the next attempt, on which it has no bearing
    driver.run.order(trial)
    assert not list(driver.folder(trial).glob(".silent*"))


def test_a_trial_that_was_stopped_early_is_pruned_and_keeps_no_snapshot(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    stopped, whole = driver.start(), driver.start()
    (driver.folder(stopped) / SNAPSHOT).touch()
    for trial in (stopped, whole):
        driver.run.halt(trial.key)
    last = {"step": 2.0, "val/objective": 0.1, "val/violation": -0.1}
    driver.run.ended(stopped.key, None, last)
    # one that was not evaluated is judged by what it left
    driver.leave_result(whole)
    driver.run.ended(whole.key, None, {})
    assert driver.states() == {stopped.name: "pruned", whole.name: "finished"}
    assert not (driver.folder(stopped) / SNAPSHOT).exists()


def test_a_trial_that_is_repaired_is_not_stopped_early(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    trial = driver.start()
    driver.leave_result(trial)
    driver.run.ended(trial.key, None)
    driver.queue.ledger.reopen([trial])
    driver.queue.put_back(trial)
    other, again = driver.start(), driver.start()
    assert again == trial
    assert not driver.run.halt(trial.key)
    assert driver.run.halt(other.key)
    later = Ledger.open(driver.plan)
    assert later.was_finished(trial)
    assert not later.was_finished(other)


@pytest.mark.parametrize("left", ["nothing", "a damaged result", "NaN"])
def test_a_trial_without_a_usable_result_has_not_finished(tmp_path: Path, left: str) -> None:
    driver = Driver(tmp_path, max_failures=0)
    trial = driver.start()
    if left == "NaN":
        driver.leave_result(trial, float("nan"))
    elif left != "nothing":
        driver.leave_result(trial)
        path = driver.folder(trial) / "result.json"
        path.write_text(path.read_text().replace("0.5", "0.6"))
    driver.run.ended(trial.key, None)
    entry = driver.queue.ledger.entries()[0]
    assert (entry.state, entry.cause) == ("failed", "non-finite" if left == "NaN" else "crash")
    assert driver.told.names()[-1] == "failed"


@pytest.mark.parametrize("failure", [None, Failure(cause=Cause.CRASH, message="bad")])
def test_a_trial_that_is_proposed_later_starts_once_its_shared_work_is_built(
    tmp_path: Path, failure: Failure | None
) -> None:
    driver = Driver(tmp_path)
    later = with_original(driver.plan.trials[1], steps=7)
    driver.queue.put_back(later)
    assert driver.run.next_ahead() == later
    assert driver.run.order(later, ahead=True).ahead
    driver.run.started(later.key)
    # meanwhile those start whose work was built before
    others = [driver.start(), driver.start()]
    assert (driver.run.next(), driver.run.next_ahead()) == (None, None)
    assert driver.run.under_way() == 3
    driver.run.ended(later.key, failure)
    assert driver.run.under_way() == 2
    assert driver.start() == later
    assert [trial for name, (trial, *_) in driver.told.calls if name == "started"] == [
        *others,
        later,
    ]
    assert set(driver.told.names()) == {"started"}


def test_work_that_several_trials_lack_is_built_once(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    ours = driver.plan.trials[1]
    waiting = [with_original(ours, steps=steps, lr=lr) for steps in (7, 8) for lr in (0.1, 0.2)]
    ahead = WorkAhead([ours])
    assert [ahead.next(waiting) for _ in range(3)] == [waiting[0], waiting[2], None]
    assert ahead.under_way() == 2
    assert ahead.ended(waiting[0].key)
    assert [ahead.is_there(trial) for trial in waiting] == [True, True, False, False]
    assert ahead.next(waiting) is None
    assert not ahead.ended(waiting[1].key)


def with_original(trial: PlannedTrial, steps: int, lr: float = 0.1) -> PlannedTrial:
    """A trial of another original, as a search over the steps of its pretraining proposes it."""
    pretrain = dataclasses.replace(trial.config.pretrain, steps=steps, shipped=False)
    unlearn = dataclasses.replace(trial.config.unlearn, lr=lr)
    config = dataclasses.replace(trial.config, pretrain=pretrain, unlearn=unlearn)
    return dataclasses.replace(trial, key=f"{steps}-{lr}", name=f"ours-{steps}", config=config)


# --- What a failure is called ----------------------------------------------------------------


class WorkerGroupError(RuntimeError):
    """As Ray Train tells of the workers of a trial."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__("workers failed")
        self.worker_failures = dict(enumerate(errors))


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (NonFiniteError("loss is nan"), "non-finite"),
        (OSError(28, "No space left on device"), "disk"),
        (OSError(122, "Disk quota exceeded"), "disk"),
        (RuntimeError("[Errno 28] No space left on device"), "disk"),
        (caused(RuntimeError("cannot save"), OSError(28, "full")), "disk"),
        (OSError(5, "Input/output error"), "crash"),
        (StorageError("no route to host"), "storage"),
        (HeldError("a lock is held"), "crash"),
        (ConfigError(["bad"]), "user"),
        (MemoryError(), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory"),
        (OutOfMemoryError("a node ran out"), "out of memory"),
        (ActorDiedError(), "worker lost"),
        (WorkerGroupError(RuntimeError("gloo: connection reset"), ActorDiedError()), "worker lost"),
        (WorkerGroupError(NonFiniteError("nan"), RuntimeError("gloo")), "non-finite"),
        (ValueError("bad"), "crash"),
    ],
    ids=repr,
)
def test_a_failure_has_the_cause_that_decides_what_follows(error: Exception, cause: str) -> None:
    assert diagnose(error).cause == cause
