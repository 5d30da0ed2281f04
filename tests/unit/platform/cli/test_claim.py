"""A sweep has one driver; a name that was not given is free only once its lock is held."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from platform.cli.claim import claimed
from platform.cli.request import Request
from platform.cli.requested_plan import SweepCall
from platform.plan.build import make_plan
from platform.storage.lease import InUseError, driver_lock
from platform.storage.replica import Replica
from tests.helpers.command import sweep
from tests.helpers.studies import ONE_FAMILY


def call_in(storage: Path, name: str | None = None, **options: Any) -> SweepCall:
    """A call for a sweep; without a name, as it is planned where nobody else plans one."""
    plan = make_plan(ONE_FAMILY, name=name or ONE_FAMILY.name, storage=storage)
    return SweepCall(plan=plan, request=Request(name=name, **options))


def test_a_sweep_has_one_driver_at_a_time_however_the_last_one_ended(tmp_path: Path) -> None:
    one, other = call_in(tmp_path, "a"), call_in(tmp_path, "b")
    with claimed(one):
        for taken in (one, call_in(tmp_path, "a", resume=True)):
            with pytest.raises(InUseError, match="'a' is being run by another"), claimed(taken):
                pass
        with claimed(other):
            pass
    with pytest.raises(ZeroDivisionError) as caught, claimed(one):
        raise ZeroDivisionError
    with claimed(one):
        assert caught.traceback  # the fault, and the lock that it names, are still at hand


def test_a_name_that_was_given_is_refused_where_it_came_into_use_since(tmp_path: Path) -> None:
    call = call_in(tmp_path, "a")
    sweep(tmp_path, "a")
    with pytest.raises(InUseError, match="--name a is in use in "), claimed(call):
        pass
    with claimed(call_in(tmp_path, "a", resume=True)) as (resumed, _):
        assert resumed.plan.name == "a"


def test_sweeps_without_a_name_that_start_at_one_moment_get_a_name_each(tmp_path: Path) -> None:
    count = 8
    sweep(tmp_path, f"{ONE_FAMILY.name}-3")
    calls = [call_in(tmp_path) for _ in range(count)]
    at_once, all_hold = threading.Barrier(count), threading.Barrier(count)

    def start(call: SweepCall) -> str:
        at_once.wait(30)
        with claimed(call) as (mine, _):
            mine.plan.folder.mkdir()
            all_hold.wait(30)
            return mine.plan.name

    with ThreadPoolExecutor(count) as pool:
        names = list(pool.map(start, calls))
    free = [f"{ONE_FAMILY.name}-{n}" for n in range(2, count + 2) if n != 3]
    assert sorted(names) == sorted([ONE_FAMILY.name, *free])


def test_a_name_that_another_machine_takes_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.contextmanager
    def held(replica: Replica, *, new: bool = False) -> Any:
        if replica._plan.name == ONE_FAMILY.name:
            raise InUseError("another machine runs it")
        yield

    monkeypatch.setattr(Replica, "held", held)
    with claimed(call_in(tmp_path)) as (mine, replica):
        assert mine.plan.name == replica._plan.name == f"{ONE_FAMILY.name}-2"
        # what was not taken is let go of
        with driver_lock(tmp_path, ONE_FAMILY.name):
            pass
