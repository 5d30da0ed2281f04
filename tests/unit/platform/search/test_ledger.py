"""The ledger: which trials are done, what is left, what TPE proposes, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from platform.plan.build import make_plan
from platform.plan.plan import Plan, PlannedTrial
from platform.search.ledger import FILE, Ledger, LedgerError
from platform.search.trial_queue import TrialQueue
from platform.search.trial_record import Entry, sealed
from tests.helpers.studies import ONE_FAMILY
from trainables.utils.hashing import SEAL, seal

PAIR = ("method=original,ours", "retain_source=real", "search.trials=2")
BY_TPE = ("method=ours", "search.sobol_trials=3", "search.generation=2", "search.trials=7")


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


def leave(plan: Plan, trial: PlannedTrial, result: object) -> Path:
    """A `result.json` in a trial's folder."""
    folder = plan.trial_folder(trial)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "result.json"
    path.write_text(result if isinstance(result, str) else json.dumps(result))
    return path


def states_in(plan: Plan) -> list[TrialState]:
    """The states in the file, as Optuna itself reads it."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = RDBStorage(f"sqlite:///{plan.folder / FILE}")
    studies = storage.get_all_studies()
    states = [t.state for s in studies for t in storage.get_all_trials(s._study_id)]
    storage.remove_session()
    storage.engine.dispose()
    return states


def copy_of(plan: Plan, storage: Path) -> Plan:
    """The plan with its ledger in another storage."""
    copied = dataclasses.replace(plan, storage=storage)
    shutil.copytree(plan.folder, copied.folder)
    return copied


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan with a new ledger."""
    plan = plan_in(tmp_path_factory.mktemp("written"))
    TrialQueue(Ledger.create(plan))
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


# --- Trials come, end, and are known ---------------------------------------------------------


def test_what_a_trial_waits_for_a_node_is_not_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = TrialQueue(Ledger.create(plan_in(tmp_path)))
    now = [100.0]
    monkeypatch.setattr("platform.search.trial_queue.time.monotonic", lambda: now[0])
    first, second = take(queue), take(queue)
    now[0] += 50.0
    queue.began(first)
    now[0] += 7.0
    assert queue.finish(first, result_of(first))
    (entry,) = [each for each in queue.ledger.entries() if each.trial.key == first.key]
    assert entry.duration_s == 7.0
    queue.began(second)


def test_a_new_ledger_hands_out_the_plan_in_its_order(plan: Plan) -> None:
    queue = TrialQueue(Ledger.open(plan))
    assert queue.ledger.counts() == {
        "finished": 0,
        "failed": 0,
        "pruned": 0,
        "outstanding": 4,
    }
    handed = [take(queue) for _ in plan.trials]
    assert handed == list(plan.trials)
    assert queue.next() is None
    assert queue.ledger.outstanding() == 4
    assert [path.name for path in plan.folder.iterdir()] == [FILE]


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


# --- Non-finite, interrupted, recovered ------------------------------------------------------


@pytest.mark.parametrize(
    "metrics",
    [
        measured(math.nan, 0.0),
        measured(math.inf, 0.0),
        measured(0.5, math.nan),
        {"val/objective": None},
        {"val/violation": "0"},
    ],
)
def test_a_trial_without_a_finite_objective_failed(plan: Plan, metrics: dict[str, Any]) -> None:
    queue = TrialQueue(Ledger.open(plan))
    original, ours = take(queue), take(queue)
    queue.finish(original, result_of(original))
    assert queue.finish(ours, result_of(ours, **metrics)) is False
    for each in (queue.ledger, Ledger.open(plan)):
        entry = each.entries()[1]
        assert (entry.state, entry.cause) == ("failed", "non-finite")
        assert entry.message.startswith("val/objective is ")
    assert states_in(plan) == [TrialState.COMPLETE, TrialState.FAIL]


def test_other_metrics_may_be_nan(plan: Plan) -> None:
    queue = TrialQueue(Ledger.open(plan))
    trial = take(queue)
    assert queue.finish(trial, result_of(trial, **{"retain/is_std": math.nan})) is True
    assert math.isnan(Ledger.open(plan).entries()[0].result["metrics"]["retain/is_std"])


def test_recovery_takes_in_finished_folders_and_no_others(plan: Plan) -> None:
    original, ours, first, second = plan.trials
    leave(plan, ours, seal(result_of(ours)))
    plan.trial_folder(original).mkdir(parents=True)
    queue = TrialQueue(Ledger.open(plan))
    assert queue.recover() == [ours]
    assert [take(queue) for _ in range(3)] == [original, first, second]
    known = {entry.trial.name: entry for entry in Ledger.open(plan).entries()}
    assert [entry.state for entry in known.values()].count("finished") == 1
    assert known["ours"].duration_s == 2.5


def test_a_damaged_result_is_refused_and_may_be_removed(plan: Plan) -> None:
    ours, other = plan.trials[1:3]
    whole = json.dumps(seal(result_of(ours)))
    damaged = [
        "",
        whole[:40],
        whole.replace("17.5", "17.6"),
        json.dumps(result_of(ours)),
        json.dumps(seal(result_of(other))),
        *(json.dumps(seal(result_of(ours) | part)) for part in ({"metrics": []}, {"timing": 2.5})),
    ]
    for content in damaged:
        path = leave(plan, ours, content)
        with pytest.raises(LedgerError, match=r"trials/ours/result\.json is damaged .* remove it"):
            TrialQueue(Ledger.open(plan)).recover()
    path.unlink()
    queue = TrialQueue(Ledger.open(plan))
    assert queue.recover() == []
    assert ours in [take(queue) for _ in range(2)]


def test_recovery_records_a_non_finite_result_as_failed(plan: Plan) -> None:
    ours = plan.trials[1]
    leave(plan, ours, seal(result_of(ours, **measured(math.nan, 0.0))))
    queue = TrialQueue(Ledger.open(plan))
    assert queue.recover() == []
    assert queue.ledger.entries()[1].cause == "non-finite"
    assert ours not in [take(queue) for _ in range(3)]


# --- The best --------------------------------------------------------------------------------


def entry_of(plan: Plan, objective: float, violation: float) -> Entry:
    trial = plan.trials[1]
    result = result_of(trial, **measured(objective, violation))
    return Entry(trial=trial, state="finished", result=result)


def test_infeasible_trials_rank_below_all_feasible_ones_by_their_violation(plan: Plan) -> None:
    figures = [(9.0, 0.5), (5.0, 0.2), (7.0, 1e-9), (-1.0, 0.0), (0.1, -0.3), (0.2, -0.1)]
    entries = [entry_of(plan, *pair) for pair in figures]
    mixed = [entries[place] for place in (3, 0, 5, 1, 4, 2)]
    assert sorted(mixed, key=lambda entry: entry.rank) == entries
    assert [entry.feasible for entry in entries] == [False] * 3 + [True] * 3
    assert entries[1].forget_ratio == pytest.approx(math.exp(5.0))
    assert entries[1].retain_ratio == pytest.approx(1.1 * math.exp(0.2))


# --- TPE -------------------------------------------------------------------------------------


def run_all(
    plan: Plan,
    order: Callable[[list[PlannedTrial]], list[PlannedTrial]] = list,
    measure: Callable[[PlannedTrial], dict[str, Any]] = result_of,
) -> Ledger:
    """Runs a plan, every trial that can start at once, ending in the given order."""
    queue = TrialQueue(Ledger.create(plan))
    while queue.ledger.outstanding():
        under_way = []
        while (trial := queue.next()) is not None:
            under_way.append(trial)
        assert under_way
        for trial in order(under_way):
            queue.finish(trial, measure(trial))
    return queue.ledger


def asked(ledger: Ledger) -> dict[str, dict[str, float]]:
    return {entry.trial.name: entry.trial.params for entry in ledger.entries()}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """A whole search of two variants, three Sobol points and four of TPE each."""
    return run_all(plan_in(tmp_path_factory.mktemp("tpe"), BY_TPE))


def test_tpe_proposes_what_is_missing_by_generations(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, [*BY_TPE, "retain_source=real"])
    queue = TrialQueue(Ledger.create(plan))
    known = [take(queue) for _ in range(4)]
    assert (queue.next(), queue.is_over(), queue.ledger.outstanding()) == (None, False, 8)
    for trial in known[:3]:
        queue.finish(trial, result_of(trial))
    assert (queue.next(), queue.is_over(), queue.ledger.outstanding()) == (None, False, 5)
    queue.fail(known[3], "ValueError", "a failed trial holds nothing up")
    assert [take(queue).name, take(queue).name] == ["ours-s4", "ours-s5"]
    assert (queue.next(), queue.is_over(), queue.ledger.outstanding()) == (None, False, 4)


def test_every_variant_gets_the_number_of_trials_that_was_planned(searched: Ledger) -> None:
    found = [entry.trial for entry in searched.entries()]
    assert len(found) == len({trial.key for trial in found}) == searched.plan.total == 16
    for group in ("ours", "ours_proxy"):
        numbers = [trial.number for trial in found if trial.group == group]
        assert sorted(numbers) == list(range(8))
    assert {entry.state for entry in searched.entries()} == {"finished"}
    assert searched.unproposed() == 0


def test_proposals_do_not_depend_on_the_order_of_finishing(
    searched: Ledger, tmp_path: Path
) -> None:
    backwards = run_all(plan_in(tmp_path, BY_TPE), lambda under_way: under_way[::-1])
    assert asked(backwards) == asked(searched)


def test_proposals_are_the_same_one_trial_at_a_time_from_a_reopened_ledger(
    searched: Ledger, tmp_path: Path
) -> None:
    plan = plan_in(tmp_path, BY_TPE)
    queue = TrialQueue(Ledger.create(plan))
    while (trial := queue.next()) is not None:
        queue.finish(trial, result_of(trial))
        queue = TrialQueue(Ledger.open(plan))
    assert queue.ledger.outstanding() == 0
    assert asked(queue.ledger) == asked(searched)


def test_other_results_lead_to_other_proposals(tmp_path: Path) -> None:
    """With ten trials told, TPE no longer draws from the whole space."""
    settings = ("method=ours", "retain_source=real", "search.trials=11")

    def backwards(trial: PlannedTrial) -> dict[str, Any]:
        return result_of(trial, **measured(-trial.config.forget_alpha, -1.0))

    same, other = (
        run_all(plan_in(tmp_path / measure.__name__, settings), measure=measure)
        for measure in (result_of, backwards)
    )
    assert list(asked(same)) == list(asked(other))
    different = [name for name in asked(same) if asked(same)[name] != asked(other)[name]]
    assert different == ["ours-s11"]


def test_without_sobol_points_tpe_begins_after_the_default(tmp_path: Path) -> None:
    settings = ("method=ours", "retain_source=real", "search.sobol_trials=0", "search.trials=2")
    ledger = run_all(plan_in(tmp_path, settings))
    assert list(asked(ledger)) == ["ours", "ours-s1", "ours-s2"]


# --- What is refused -------------------------------------------------------------------------


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


# --- Attempts that were lost -----------------------------------------------------------------


def test_a_trial_that_is_put_back_comes_after_all_that_wait(plan: Plan) -> None:
    queue = TrialQueue(Ledger.open(plan))
    lost = take(queue)
    queue.put_back(lost)
    assert queue.ledger.counts() == {
        "finished": 0,
        "failed": 0,
        "pruned": 0,
        "outstanding": 4,
    }
    assert [take(queue) for _ in range(4)][-1] == lost


def test_failed_trials_are_run_again_when_asked_and_count_as_failed_until_they_end(
    ended: Plan,
) -> None:
    queue = TrialQueue(Ledger.open(ended))
    assert (queue.ledger.outstanding(), queue.ledger.counts()["failed"]) == (0, 1)
    (failed,) = queue.retry_failed()
    assert (queue.ledger.outstanding(), queue.ledger.counts()["failed"]) == (1, 0)
    assert Ledger.open(ended).counts()["failed"] == 1  # as if this session had been killed
    assert take(queue) == failed
    assert queue.finish(failed, result_of(failed))
    again = TrialQueue(Ledger.open(ended))
    assert again.ledger.counts() == {
        "finished": 4,
        "failed": 0,
        "pruned": 0,
        "outstanding": 0,
    }


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
