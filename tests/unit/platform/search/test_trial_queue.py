"""The queue: what is handed out and when, what its end is recorded as, what is taken in."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from platform.plan.plan import Plan, PlannedTrial
from platform.search.ledger import FILE, Ledger, LedgerError
from platform.search.trial_queue import TrialQueue
from tests.helpers.ledgers import measured, plan_in, result_of, states_in, take
from trainables.utils.hashing import seal


def leave(plan: Plan, trial: PlannedTrial, result: object) -> Path:
    """A `result.json` in a trial's folder."""
    folder = plan.trial_folder(trial)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "result.json"
    path.write_text(result if isinstance(result, str) else json.dumps(result))
    return path


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


def test_failed_trials_are_run_again_when_asked_also_by_a_later_session(ended: Plan) -> None:
    queue = TrialQueue(Ledger.open(ended))
    assert (queue.ledger.outstanding(), queue.ledger.counts()["failed"]) == (0, 1)
    (failed,) = queue.retry_failed()
    later = TrialQueue(Ledger.open(ended))  # as if this session had been killed
    for each in (queue, later):
        assert (each.ledger.outstanding(), each.ledger.counts()["failed"]) == (1, 0)
        assert each.waiting() == (failed,)
    assert later.retry_failed() == []
    assert take(later) == failed
    later.fail(failed, "crash", "once more")
    assert Ledger.open(ended).counts()["failed"] == 1
    assert later.retry_failed() == [take(later)]
    assert later.finish(failed, result_of(failed))
    again = TrialQueue(Ledger.open(ended))
    assert again.ledger.counts() == {
        "finished": 4,
        "failed": 0,
        "pruned": 0,
        "outstanding": 0,
    }
