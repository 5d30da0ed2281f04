"""What a search proposes by TPE: when, how much, and the same however the trials end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from platform.plan.plan import Plan, PlannedTrial
from platform.search.ledger import Ledger
from platform.search.trial_queue import TrialQueue
from tests.helpers.ledgers import measured, plan_in, result_of, take

BY_TPE = ("method=ours", "search.sobol_trials=3", "search.generation=2", "search.trials=7")


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
