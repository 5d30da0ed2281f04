"""What of a recorded sweep is still to be run, as a call asks before it starts anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from platform.plan.plan import Outstanding, Plan, PlannedTrial
from platform.search.ledger import FILE, Ledger, LedgerError
from platform.search.outstanding import find_lost, read_outstanding
from platform.search.trial_queue import TrialQueue
from platform.search.trial_record import Entry
from tests.helpers.ledgers import be_impatient, held, plan_in, result_of, take
from trainables.utils.files import write_json
from trainables.utils.hashing import seal
from trainables.utils.local_files import take_inventory

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


# --- Finished trials that have lost files ------------------------------------------------------


def leave(plan: Plan, trial: PlannedTrial, *, listed: bool = True) -> dict[str, Any]:
    """A trial's weights and its result, which lists them, or which an earlier version wrote."""
    folder = plan.trial_folder(trial)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights").write_text("weights")
    files = {"files": take_inventory([folder / "weights"])} if listed else {}
    result = result_of(trial) | files
    write_json(folder / "result.json", seal(result))
    return result


def finished(plan: Plan) -> list[PlannedTrial]:
    """All trials of a sweep, of which an earlier version has run the first."""
    queue = TrialQueue(Ledger.open(plan))
    trials = [take(queue) for _ in range(plan.total)]
    for number, trial in enumerate(trials):
        queue.finish(trial, leave(plan, trial, listed=number > 0))
    return trials


def test_nothing_is_missed_of_a_sweep_that_is_whole_or_that_an_earlier_version_ran(
    plan: Plan,
) -> None:
    first, *_ = finished(plan)
    assert find_lost(plan, Ledger.open(plan).entries(), read=True) == []
    (plan.trial_folder(first) / "weights").unlink()
    (plan.trial_folder(first) / "result.json").unlink()
    assert find_lost(plan, Ledger.open(plan).entries(), read=True) == []


def test_what_is_gone_is_found_by_size_and_what_is_altered_by_reading(plan: Plan) -> None:
    _, second, third, last = finished(plan)
    (plan.trial_folder(second) / "result.json").unlink()
    (plan.trial_folder(third) / "weights").write_text("Weights")
    altered = plan.trial_folder(last) / "result.json"
    altered.write_text(altered.read_text().replace("17.5", "17.6"))
    entries = Ledger.open(plan).entries()
    assert find_lost(plan, entries) == [(second, ["result.json is gone"])]
    read = {trial.name: faults for trial, faults in find_lost(plan, entries, read=True)}
    assert list(read) == [second.name, third.name, last.name]
    assert read[third.name] == ["weights is altered"]
    assert read[last.name][0].startswith("result.json is altered (")


def test_a_repair_makes_them_outstanding_also_for_a_later_session(plan: Plan) -> None:
    _, second, third, _ = finished(plan)
    (plan.trial_folder(second) / "weights").unlink()
    (plan.trial_folder(third) / "weights").write_text("Weights")
    assert names(read_outstanding(plan)) == []
    assert names(read_outstanding(plan, repair=True)) == [second.name]
    queue = TrialQueue(Ledger.open(plan))
    assert [trial for trial, _ in queue.repair()] == [second, third]
    later = TrialQueue(Ledger.open(plan))  # as if this session had been killed
    assert later.recover() == []
    for each in (queue, later):
        assert each.waiting() == (second, third)
        assert each.ledger.counts()["finished"] == 2
    assert later.repair() == []
    for trial in (take(later), take(later)):
        assert later.finish(trial, leave(plan, trial))
    after = Ledger.open(plan)
    assert after.counts()["finished"] == 4
    assert find_lost(plan, after.entries(), read=True) == []


def test_a_repair_that_is_broken_off_leaves_no_trial_that_passes_for_finished(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second, _, last = finished(plan)
    for each in (second, last):
        (plan.trial_folder(each) / "weights").write_text("Weights")
    queue = TrialQueue(Ledger.open(plan))
    append = queue.ledger._append

    def killed_at_the_last(entry: Entry) -> None:
        append(entry)
        raise KeyboardInterrupt

    monkeypatch.setattr(queue.ledger, "_append", killed_at_the_last)
    with pytest.raises(KeyboardInterrupt):
        queue.repair()
    later = TrialQueue(Ledger.open(plan))
    assert later.recover() == []
    assert later.waiting() == (second,)
    assert [trial for trial, _ in later.repair()] == [last]


def test_a_ledger_in_a_folder_of_any_name_is_read(tmp_path: Path) -> None:
    plan = plan_in(tmp_path / "50%20?mode=memory#1")
    Ledger.create(plan)
    assert read_outstanding(plan) == plan.whole
