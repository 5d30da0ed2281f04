"""Small ledgers for tests: a plan in its folder, results of its trials, copies."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from platform.plan.build import make_plan
from platform.plan.plan import Plan, PlannedTrial
from platform.search.ledger import FILE
from platform.search.trial_queue import TrialQueue
from tests.helpers.studies import ONE_FAMILY

PAIR = ("method=original,ours", "retain_source=real", "search.trials=2")


def plan_in(storage: Path, settings: Sequence[str] = PAIR) -> Plan:
    plan = make_plan(ONE_FAMILY, name="a", storage=storage, overrides=settings, seed=1)
    plan.folder.mkdir(parents=True)
    return plan


def result_of(trial: PlannedTrial, **metrics: float | None) -> dict[str, Any]:
    """A trial forgets the more the larger alpha is, and above 0.5 keeps too little."""
    alpha = trial.config.canonical().forget_alpha
    measured = {"val/objective": alpha, "val/violation": alpha - 0.5, "retain/fid": 17.5}
    return {
        "trial_key": trial.key,
        "metrics": {**measured, **metrics},
        "timing": {"total_s": 2.5},
        "data_hash": "d0d0",
    }


def measured(objective: float, violation: float) -> dict[str, float]:
    return {"val/objective": objective, "val/violation": violation}


def take(queue: TrialQueue) -> PlannedTrial:
    """The next trial, where there must be one."""
    trial = queue.next()
    assert trial is not None
    return trial


def copy_of(plan: Plan, storage: Path) -> Plan:
    """The plan with its ledger in another storage."""
    copied = dataclasses.replace(plan, storage=storage)
    shutil.copytree(plan.folder, copied.folder)
    return copied


def states_in(plan: Plan) -> list[TrialState]:
    """The states in the file, as Optuna itself reads it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = RDBStorage(f"sqlite:///{plan.folder / FILE}")
    studies = storage.get_all_studies()
    states = [t.state for s in studies for t in storage.get_all_trials(s._study_id)]
    storage.remove_session()
    storage.engine.dispose()
    return states


@contextlib.contextmanager
def held(ledger: Path) -> Iterator[None]:
    """Another client holds the file, so that it can be neither written nor read."""
    database = sqlite3.connect(ledger, isolation_level=None)
    database.execute("begin exclusive")
    try:
        yield
    finally:
        database.close()


@contextlib.contextmanager
def failing_disk(ledger: Path) -> Iterator[None]:
    """Every write of this process to a file is an I/O error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def moved_away(ledger: Path) -> Iterator[None]:
    """The file is no longer where it was, as below a mount that is gone."""
    elsewhere = ledger.rename(ledger.with_name("elsewhere.db"))
    try:
        yield
    finally:
        elsewhere.rename(ledger)


# what keeps a ledger from being written, and what SQLite says of it
OUT_OF_REACH: dict[str, Callable[[Path], contextlib.AbstractContextManager[None]]] = {
    "database is locked": held,
    "disk I/O error": failing_disk,
    "attempt to write a readonly database": moved_away,
}


def be_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes ledgers that are opened from now on give up at once, not after half a minute."""
    monkeypatch.setattr("sqlite3.connect", functools.partial(sqlite3.connect, timeout=0.01))
    monkeypatch.setattr("optuna.storages._rdb.storage.time.sleep", lambda seconds: None)
