"""Ledgers that the tests of this folder begin with."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform.plan.plan import Plan
from platform.search.ledger import Ledger
from platform.search.trial_queue import TrialQueue
from tests.helpers.ledgers import copy_of, plan_in, result_of, take


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan with a new ledger."""
    plan = plan_in(tmp_path_factory.mktemp("written"))
    Ledger.create(plan)
    return plan


@pytest.fixture
def plan(written: Plan, tmp_path: Path) -> Plan:
    return copy_of(written, tmp_path)


@pytest.fixture(scope="module")
def over(written: Plan, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan of which every trial has finished, but for one that failed."""
    plan = copy_of(written, tmp_path_factory.mktemp("over"))
    queue = TrialQueue(Ledger.open(plan))
    for trial in [take(queue) for _ in range(3)]:
        queue.finish(trial, result_of(trial))
    queue.fail(take(queue), "ValueError", "bad")
    return plan


@pytest.fixture
def ended(over: Plan, tmp_path: Path) -> Plan:
    return copy_of(over, tmp_path)
