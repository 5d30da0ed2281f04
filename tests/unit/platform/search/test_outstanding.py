"""What of a recorded sweep is still to be run, as a call asks before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform.plan.plan import Outstanding, Plan
from platform.search.ledger import FILE, Ledger, LedgerError, read_outstanding
from platform.search.trial_queue import TrialQueue
from tests.helpers.ledgers import be_impatient, held, plan_in, result_of, take
from trainables.utils.files import write_json
from trainables.utils.hashing import seal

PROPOSED_LATER = (
    "method=original,ours",
    "retain_source=real",
    "search.sobol_trials=2",
    "search.trials=8",
)


def names(left: Outstanding) -> list[str]:
    return [trial.name for trial in left.trials]


def test_of_a_new_ledger_all_is_outstanding(plan: Plan) -> None:
    assert read_outstanding(plan) == plan.whole
    assert plan.whole.total == plan.total == 4


def test_what_has_ended_or_has_left_its_result_is_not_outstanding(plan: Plan) -> None:
    queue = TrialQueue(Ledger.open(plan))
    first, second = take(queue), take(queue)
    queue.finish(first, result_of(first))
    queue.fail(second, "ValueError", "bad")
    assert names(read_outstanding(plan)) == ["ours-s1", "ours-s2"]
    assert names(read_outstanding(plan, retry_failed=True)) == ["ours", "ours-s1", "ours-s2"]
    third = take(queue)
    plan.trial_folder(third).mkdir(parents=True)
    write_json(plan.trial_folder(third) / "result.json", seal(result_of(third)))
    assert names(read_outstanding(plan)) == ["ours-s2"]


def test_a_ledger_that_another_client_holds_is_not_waited_for_without_end(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_impatient(monkeypatch)
    with held(plan.folder / FILE), pytest.raises(OSError, match="database is locked"):
        read_outstanding(plan)


def test_shared_work_is_outstanding_until_a_trial_ends_or_where_the_cache_is_gone(
    plan: Plan,
) -> None:
    plan.cache.mkdir()
    assert read_outstanding(plan).shared
    queue = TrialQueue(Ledger.open(plan))
    trial = take(queue)
    queue.finish(trial, result_of(trial))
    assert not read_outstanding(plan).shared
    plan.cache.rmdir()
    assert read_outstanding(plan).shared


def test_trials_that_are_proposed_later_count_and_the_ledger_stays_as_it_is(
    tmp_path: Path,
) -> None:
    plan = plan_in(tmp_path, PROPOSED_LATER)
    queue = TrialQueue(Ledger.create(plan))
    while (trial := queue.next()) is not None and trial.kind != "search":
        queue.finish(trial, result_of(trial))
    before = (plan.folder / FILE).read_bytes()
    left = read_outstanding(plan)
    assert left.total == plan.total - 2 == 8
    assert left.later == plan.whole.later > 0
    assert (plan.folder / FILE).read_bytes() == before
    assert [path.name for path in plan.folder.iterdir()] == [FILE]


def test_a_ledger_that_is_absent_or_damaged_is_refused(plan: Plan) -> None:
    (plan.folder / FILE).write_bytes(b"no database" * 100)
    with pytest.raises((OSError, LedgerError)):
        read_outstanding(plan)
    (plan.folder / FILE).unlink()
    with pytest.raises(OSError, match=FILE):
        read_outstanding(plan)
    assert not (plan.folder / FILE).exists()
