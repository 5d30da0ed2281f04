"""The ledger: which trials ended and how, kept in a file, and what is refused of it."""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from platform.plan.plan import Plan
from platform.search.ledger import FILE, Ledger, LedgerError
from platform.search.trial_queue import TrialQueue
from platform.search.trial_record import sealed
from tests.helpers.ledgers import (
    OUT_OF_REACH,
    PAIR,
    be_impatient,
    held,
    measured,
    plan_in,
    result_of,
    states_in,
    take,
)
from trainables.utils.hashing import SEAL


def test_a_ledger_is_not_made_twice(plan: Plan) -> None:
    with pytest.raises(LedgerError, match="exists already: --resume goes on with it"):
        TrialQueue(Ledger.create(plan))


def test_ended_trials_are_counted_and_told(plan: Plan) -> None:
    queue = TrialQueue(Ledger.open(plan))
    original, ours = take(queue), take(queue)
    assert queue.finish(original, result_of(original)) is True
    queue.fail(ours, "OutOfMemoryError", "no memory left")
    assert queue.ledger.counts() == {
        "finished": 1,
        "failed": 1,
        "pruned": 0,
        "outstanding": 2,
    }
    entries = queue.ledger.entries()
    assert [entry.trial for entry in entries] == list(plan.trials)
    states = [entry.state for entry in entries]
    assert states == ["finished", "failed", "interrupted", "interrupted"]
    assert entries[0].result["data_hash"] == "d0d0"
    assert (entries[1].cause, entries[1].message) == ("OutOfMemoryError", "no memory left")
    assert states_in(plan) == [TrialState.COMPLETE, TrialState.FAIL]


def test_another_ledger_of_the_file_knows_what_ended(plan: Plan) -> None:
    queue = TrialQueue(Ledger.open(plan))
    original, ours = take(queue), take(queue)
    queue.finish(original, result_of(original))
    queue.fail(ours, "ValueError", "bad")
    take(queue)  # it runs, and is lost with this process
    other = TrialQueue(Ledger.open(plan))
    before, after = queue.ledger.entries(), other.ledger.entries()
    assert after == before
    assert other.ledger.counts() == {
        "finished": 1,
        "failed": 1,
        "pruned": 0,
        "outstanding": 2,
    }
    assert [take(other), take(other)] == list(plan.trials[2:])


def test_what_one_ledger_writes_is_in_the_file_at_once(plan: Plan) -> None:
    queue = TrialQueue(Ledger.open(plan))
    for done in range(1, 5):
        trial = take(queue)
        queue.finish(trial, result_of(trial))
        assert Ledger.open(plan).counts()["finished"] == done
    assert Ledger.open(plan).outstanding() == 0
    assert TrialQueue(Ledger.open(plan)).is_over()


def test_a_finished_trial_stays_finished(plan: Plan) -> None:
    queue = TrialQueue(Ledger.open(plan))
    trial = take(queue)
    queue.finish(trial, result_of(trial))
    queue.fail(trial, "late", "a lost worker")
    queue.finish(trial, result_of(trial, **measured(9.0, 0.0)))
    assert queue.ledger.counts()["finished"] == 1
    assert queue.ledger.counts()["failed"] == 0
    assert Ledger.open(plan).entries()[0].objective == 0.0
    assert states_in(plan) == [TrialState.COMPLETE]


def test_a_failed_trial_may_still_finish(plan: Plan) -> None:
    queue = TrialQueue(Ledger.open(plan))
    trial = take(queue)
    queue.fail(trial, "lost", "the machine went away")
    queue.finish(trial, result_of(trial))
    for each in (queue.ledger, Ledger.open(plan)):
        assert each.entries()[0].state == "finished"
        assert each.counts() == {
            "finished": 1,
            "failed": 0,
            "pruned": 0,
            "outstanding": 3,
        }


def test_other_metrics_may_be_nan(plan: Plan) -> None:
    queue = TrialQueue(Ledger.open(plan))
    trial = take(queue)
    assert queue.finish(trial, result_of(trial, **{"retain/is_std": math.nan})) is True
    assert math.isnan(Ledger.open(plan).entries()[0].result["metrics"]["retain/is_std"])


@pytest.mark.parametrize("why", OUT_OF_REACH)
def test_a_ledger_that_cannot_be_written_says_why_and_loses_nothing(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    be_impatient(monkeypatch)
    queue = TrialQueue(Ledger.open(plan))
    first, second = take(queue), take(queue)
    queue.finish(first, result_of(first))
    path = plan.folder / FILE
    with OUT_OF_REACH[why](path), pytest.raises(OSError, match="cannot be written") as caught:
        queue.finish(second, result_of(second))
    assert str(caught.value) == f"{path} cannot be written ({why})"
    assert queue.ledger.counts()["finished"] == Ledger.open(plan).counts()["finished"] == 1
    queue.finish(second, result_of(second))
    assert queue.ledger.counts()["finished"] == Ledger.open(plan).counts()["finished"] == 2


def test_a_ledger_that_another_client_holds_is_not_called_damaged(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_impatient(monkeypatch)
    path = plan.folder / FILE
    with held(path), pytest.raises(OSError, match="database is locked") as caught:
        Ledger.open(plan)
    assert str(caught.value) == f"{path} cannot be read (database is locked)"
    assert Ledger.open(plan).outstanding() == 4


def refusal(plan: Plan) -> str:
    """Why the ledger is refused, in one line; the file keeps its bytes."""
    path = plan.folder / FILE
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(LedgerError) as caught:
        TrialQueue(Ledger.open(plan))
    assert before == (path.read_bytes() if path.exists() else None)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert "\n" not in line
    return line


def test_a_missing_ledger_is_refused(plan: Plan) -> None:
    (plan.folder / FILE).unlink()
    assert "is missing: nothing says which trials are done" in refusal(plan)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:100],
        lambda content: content[: len(content) // 2],
        lambda content: b"\x00" * len(content),
        lambda content: b"name,state\nours,finished\n" * 200,
        lambda content: content.replace(b"SQLite format 3", b"SQLite format 9"),
    ],
    ids=["emptied", "header alone", "half", "zeros", "another format", "another version"],
)
def test_a_damaged_ledger_is_refused(ended: Plan, damage: Callable[[bytes], bytes]) -> None:
    path = ended.folder / FILE
    path.write_bytes(damage(path.read_bytes()))
    assert "is damaged or no ledger" in refusal(ended)


def test_another_database_is_refused(plan: Plan) -> None:
    path = plan.folder / FILE
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("create table runs (id integer)")
    database.close()
    assert "is damaged or no ledger" in refusal(plan)


def test_the_ledger_of_another_plan_is_refused(plan: Plan, tmp_path: Path) -> None:
    other = plan_in(tmp_path / "other", [*PAIR, "unlearn.steps=9"])
    shutil.copy(plan.folder / FILE, other.folder / FILE)
    assert refusal(other).endswith("is another plan's ledger")
    more = plan_in(tmp_path / "more", ["method=original,ours,max_loss", *PAIR[1:]])
    shutil.copy(plan.folder / FILE, more.folder / FILE)
    refusal(more)


@pytest.mark.parametrize(
    "statement",
    [
        "delete from study_user_attributes where key = 'plan'",
        "delete from studies where study_name = 'ours'",
        "drop table trials",
        "drop table trial_user_attributes",
        "delete from trial_user_attributes where key = 'key'",
        "update trial_user_attributes set value_json = '\"0\"' where key = 'key'",
        "update trial_user_attributes set value_json = '{' where key = 'duration_s'",
        "update trial_user_attributes set value_json = '\"long\"' where key = 'duration_s'",
        "delete from trial_user_attributes where key = 'result'",
        "update trial_user_attributes set value_json = '[]' where key = 'result'",
        "update trial_user_attributes set value_json = '{\"metrics\": {}}' where key = 'result'",
        "update trials set state = 'RUNNING' where trial_id = 2",
        "update trials set state = 'DONE' where trial_id = 2",
        "update alembic_version set version_num = 'v99'",
    ],
)
def test_an_altered_ledger_is_refused(ended: Plan, statement: str) -> None:
    database = sqlite3.connect(ended.folder / FILE)
    with database:
        assert database.execute(statement).rowcount != 0
    database.close()
    refusal(ended)


@pytest.fixture
def mixed(plan: Plan) -> Plan:
    """A plan of which two trials finished, one was pruned and one failed, in this order."""
    queue = TrialQueue(Ledger.open(plan))
    first, second, pruned, failed = (take(queue) for _ in range(4))
    for trial in (first, second):
        queue.finish(trial, result_of(trial))
    queue.prune(pruned, {"step": 2.0, **measured(0.1, -0.1)})
    queue.fail(failed, "crash", "bad")
    return plan


def forge(plan: Plan, key: str, state: str, alter: Callable[[dict[str, Any]], None]) -> None:
    """Alters an entry in the file, and seals it anew as the ledger would."""
    path = plan.folder / FILE
    database = sqlite3.connect(path)
    (number,) = database.execute(
        "select trial_id from trial_user_attributes where key = 'key' and value_json = ?",
        (json.dumps(key),),
    ).fetchone()
    of_trial = "from trial_user_attributes where trial_id = ?"
    told = {
        name: json.loads(value)
        for name, value in database.execute(f"select key, value_json {of_trial}", (number,))
    }
    alter(told)
    told.pop(SEAL)
    storage = RDBStorage(f"sqlite:///{path}")
    frozen = storage.get_trial(number)
    storage.remove_session()
    storage.engine.dispose()
    frozen.state = TrialState[state]
    frozen._user_attrs = told
    sealed(frozen, told["place"])
    with database:
        database.execute("update trials set state = ? where trial_id = ?", (state, number))
        database.execute(f"delete {of_trial}", (number,))
        database.executemany(
            "insert into trial_user_attributes (trial_id, key, value_json) values (?, ?, ?)",
            [(number, name, json.dumps(value)) for name, value in frozen.user_attrs.items()],
        )
    database.close()


# as `result_of` has it of the first two trials that unlearn, whose alpha is 0.25
FINISHED = {"metrics": measured(0.25, -0.25), "timing": {"total_s": 2.5}}


@pytest.mark.parametrize(
    ("place", "state", "told"),
    [
        (3, "COMPLETE", {"state": "finished"}),
        (3, "COMPLETE", {"state": "finished", "result": FINISHED}),
        (3, "FAIL", {"state": "finished", "result": FINISHED}),
        (2, "COMPLETE", {"state": "finished"}),
        (1, "FAIL", {"state": "failed"}),
        (1, "COMPLETE", {"result": {**FINISHED, "metrics": measured(9.0, -0.1)}}),
        (1, "COMPLETE", {"result": {**FINISHED, "metrics": measured(0.25, math.nan)}}),
        (1, "COMPLETE", {"result": {**FINISHED, "trial_key": "another"}}),
        (1, "COMPLETE", {"result": {**FINISHED, "timing": None}}),
    ],
    ids=[
        *(
            "failed made finished",
            "with a result",
            "still failed to Optuna",
            "pruned made finished",
        ),
        *("finished made failed", "a better objective", "no violation", "another's result"),
        "no timing",
    ],
)
def test_an_entry_that_was_altered_and_sealed_anew_is_refused(
    mixed: Plan, place: int, state: str, told: dict[str, Any]
) -> None:
    trial = mixed.trials[place]

    def alter(attributes: dict[str, Any]) -> None:
        attributes.update(told)
        if "result" in told:
            attributes["result"] = {"trial_key": trial.key, **told["result"]}

    forge(mixed, trial.key, state, alter)
    assert "is damaged or no ledger" in refusal(mixed)


def test_sealing_anew_what_was_not_altered_changes_nothing(mixed: Plan) -> None:
    before = Ledger.open(mixed).entries()
    assert before[1].result["metrics"].items() >= FINISHED["metrics"].items()
    for trial, state in zip(mixed.trials, [*["COMPLETE"] * 3, "FAIL"], strict=True):
        forge(mixed, trial.key, state, lambda attributes: None)
    assert Ledger.open(mixed).entries() == before


def test_a_folder_of_any_name_holds_a_ledger(tmp_path: Path) -> None:
    plan = plan_in(tmp_path / "100% of {a}?b#c é")
    queue = TrialQueue(Ledger.create(plan))
    trial = take(queue)
    queue.finish(trial, result_of(trial))
    assert Ledger.open(plan).counts()["finished"] == 1
    assert [path.name for path in plan.folder.iterdir()] == [FILE]


@pytest.mark.parametrize("row", [0, 1, 2, 3])
def test_an_entry_that_was_taken_away_is_missed(ended: Plan, row: int) -> None:
    with sqlite3.connect(ended.folder / FILE) as database:
        numbers = [n for (n,) in database.execute("select trial_id from trials order by 1")]
        for table in ("trial_user_attributes", "trial_values", "trial_params", "trials"):
            database.execute(f"delete from {table} where trial_id = ?", (numbers[row],))
    if row == 3:  # the last one is not missed: nothing says that it was there
        assert Ledger.open(ended).outstanding() == 1
        return
    with pytest.raises(LedgerError, match="entries are missing"):
        TrialQueue(Ledger.open(ended))
