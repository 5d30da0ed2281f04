"""Searches beyond plain TPE: two objectives, NSGA-II, fixed points, replicates, early stopping."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from platform.plan.build import make_plan
from platform.plan.plan import Kind, Plan, PlannedTrial
from platform.plan.serialization import read_plan, write_plan
from platform.search.ledger import Ledger
from platform.search.trial_queue import TrialQueue
from search_spaces.study import Study
from tests.helpers.studies import ONE_FAMILY
from trainables.utils.errors import ConfigError

OURS = ("method=original,ours", "retain_source=real")
BY_SAMPLER = (*OURS, "search.sobol_trials=3", "search.generation=2", "search.trials=7")
LONGER = (*OURS, "search.sobol_trials=8", "search.generation=4", "search.trials=16")
POINTS: Study = dataclasses.replace(
    ONE_FAMILY, points=({"forget_alpha": 0.1}, {"forget_alpha": 5.0, "unlearn.lr": 0.0005})
)


def plan_in(storage: Path, *settings: str, study: Study = ONE_FAMILY) -> Plan:
    plan = make_plan(study, name="a", storage=storage, overrides=settings, seed=1)
    plan.folder.mkdir(parents=True)
    return plan


def result_of(trial: PlannedTrial) -> dict[str, Any]:
    """Forgets the more the larger alpha is, and keeps the less; best feasible is alpha 0.5."""
    alpha = trial.config.canonical().forget_alpha
    metrics = {"val/objective": alpha, "val/violation": alpha - 0.5}
    return {"trial_key": trial.key, "metrics": metrics, "timing": {"total_s": 1.0}}


def run_all(queue: TrialQueue, at_once: int = 1) -> list[PlannedTrial]:
    """Runs what the queue hands out, some trials side by side that end in turned order."""
    ran: list[PlannedTrial] = []
    while queue.ledger.outstanding():
        taken = [trial for _ in range(at_once) if (trial := queue.next()) is not None]
        assert taken
        for trial in reversed(taken):
            assert queue.finish(trial, result_of(trial))
        ran += taken
    return ran


def of_kind(trials: Sequence[PlannedTrial], kind: Kind) -> list[PlannedTrial]:
    return [trial for trial in trials if trial.kind == kind]


# --- Two objectives, and NSGA-II -------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
@pytest.mark.parametrize("goal", ["feasible", "front"])
def test_every_sampler_serves_every_goal(tmp_path: Path, sampler: str, goal: str) -> None:
    settings = (*BY_SAMPLER, f"search.sampler={sampler}", f"search.goal={goal}")
    ran = run_all(TrialQueue(Ledger.create(plan_in(tmp_path / "one", *settings))))
    assert Counter(trial.kind for trial in ran) == {"default": 2, "search": 7}
    assert len({trial.key for trial in ran}) == 9
    again = run_all(TrialQueue(Ledger.create(plan_in(tmp_path / "two", *settings))), at_once=2)
    assert {trial.key for trial in again} == {trial.key for trial in ran}


def test_goals_and_samplers_propose_different_trials(tmp_path: Path) -> None:
    proposed = {}
    for sampler in ("tpe", "nsga2"):
        for goal in ("feasible", "front"):
            settings = (*LONGER, f"search.sampler={sampler}", f"search.goal={goal}")
            plan = plan_in(tmp_path / sampler / goal, *settings)
            ran = run_all(TrialQueue(Ledger.create(plan)))
            proposed[sampler, goal] = frozenset(trial.key for trial in ran)
    assert len(set(proposed.values())) == len(proposed)


def test_a_front_keeps_both_objectives_and_says_which_is_which(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, *OURS, "search.trials=1", "search.goal=front")
    queue = TrialQueue(Ledger.create(plan))
    ran = run_all(queue)
    (found,) = of_kind(ran, "search")
    entry = next(entry for entry in Ledger.open(plan).entries() if entry.trial == found)
    assert entry.objective == found.config.forget_alpha
    study = queue.ledger._studies["ours"]
    kept = next(each for each in study.trials if each.user_attrs["key"] == found.key)
    retained, forgotten = kept.values
    assert forgotten == entry.objective
    assert retained == pytest.approx(entry.violation + 0.0953, abs=1e-3)  # log of 1.10
    assert [each.name for each in study.directions] == ["MINIMIZE", "MAXIMIZE"]


def test_a_resumed_search_goes_on_as_an_unbroken_one(tmp_path: Path) -> None:
    settings = (*BY_SAMPLER, "search.sampler=nsga2", "search.goal=front", "search.replicates=1")
    whole = run_all(TrialQueue(Ledger.create(plan_in(tmp_path / "whole", *settings))))
    plan = plan_in(tmp_path / "broken", *settings)
    queue, ran = TrialQueue(Ledger.create(plan)), []
    while queue.ledger.outstanding():
        queue = TrialQueue(Ledger.open(plan))
        trial = queue.next()
        assert trial is not None
        queue.finish(trial, result_of(trial))
        ran.append(trial)
    assert {trial.key for trial in ran} == {trial.key for trial in whole}


# --- Fixed points ----------------------------------------------------------------------------


def test_fixed_points_run_for_every_variant_that_they_change(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, *OURS, "search.trials=2", study=POINTS)
    points = of_kind(plan.trials, "point")
    assert [(t.name, t.config.forget_alpha, t.config.unlearn.lr) for t in points] == [
        ("ours-p1", 0.1, 0.001),
        ("ours-p2", 5.0, 0.0005),
    ]
    ran = run_all(TrialQueue(Ledger.create(plan)))
    assert Counter(t.kind for t in ran) == {"default": 2, "point": 2, "search": 2}


def test_what_the_user_pins_is_taken_out_of_fixed_points(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, *OURS, "forget_alpha=0.3", study=POINTS)
    (point,) = of_kind(plan.trials, "point")
    assert (point.config.forget_alpha, point.config.unlearn.lr) == (0.3, 0.0005)


def test_a_fixed_point_of_an_unknown_field_is_refused(tmp_path: Path) -> None:
    study = dataclasses.replace(ONE_FAMILY, points=({"forget_alfa": 0.1},))
    with pytest.raises(ConfigError, match="unknown field 'forget_alfa'"):
        plan_in(tmp_path, *OURS, study=study)


# --- Replicates ------------------------------------------------------------------------------


def test_defaults_and_the_chosen_trial_run_with_further_seeds(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, *BY_SAMPLER, "search.replicates=2")
    queue = TrialQueue(Ledger.create(plan))
    assert queue.ledger.total() == plan.total == 2 + 7 + 2 + 2
    ran = run_all(queue)
    finished = [
        entry for entry in queue.ledger.entries() if entry.trial.kind in ("default", "search")
    ]
    best = max((e for e in finished if e.trial.group == "ours"), key=lambda entry: entry.rank).trial
    again = of_kind(ran, "replicate")
    assert Counter(trial.config.seed for trial in again) == {2: 2, 3: 2}
    assert {trial.name for trial in again} == {
        *("ours-r1", "ours-r2"),
        *(f"{best.name}-r1", f"{best.name}-r2"),
    }
    for trial in again:
        one = next(each for each in ran if each.name == trial.name.rpartition("-r")[0])
        assert dataclasses.replace(trial.config, seed=one.config.seed) == one.config
    assert Ledger.open(plan).outstanding() == 0


def test_a_default_that_is_chosen_is_not_run_twice(tmp_path: Path) -> None:
    settings = (*OURS, "search.trials=1", "search.replicates=2", "unlearn.lr=0.001")
    plan = plan_in(tmp_path, *settings)
    queue = TrialQueue(Ledger.create(plan))
    ran: list[PlannedTrial] = []
    while queue.ledger.outstanding():
        trial = queue.next()
        assert trial is not None
        result = result_of(trial)
        if trial.kind == "search":
            result["metrics"] |= {"val/objective": -1.0, "val/violation": -1.0}
        queue.finish(trial, result)
        ran.append(trial)
    assert [trial.name for trial in of_kind(ran, "replicate")] == ["ours-r1", "ours-r2"]
    assert queue.ledger.total() == len(ran) == 5


def test_a_trial_that_was_stopped_early_is_not_replicated(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, *OURS, "search.trials=1", "search.replicates=1")
    queue = TrialQueue(Ledger.create(plan))
    while (trial := queue.next()) is not None:
        if trial.kind == "search":
            queue.prune(trial, {"step": 30, "val/objective": 9.0, "val/violation": -0.1})
        else:
            queue.finish(trial, result_of(trial))
    known = [entry.trial for entry in queue.ledger.entries()]
    assert [trial.name for trial in of_kind(known, "replicate")] == ["ours-r1"]


def test_nothing_is_replicated_where_nothing_finished(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, "method=ours", "retain_source=real", "search.trials=1")
    plan = dataclasses.replace(
        plan, groups=tuple(dataclasses.replace(g, replicates=2) for g in plan.groups)
    )
    queue = TrialQueue(Ledger.create(plan))
    while (trial := queue.next()) is not None:
        queue.fail(trial, "crash", "bad")
    assert (queue.ledger.outstanding(), queue.ledger.total()) == (0, 2)
    assert Ledger.open(plan).outstanding() == 0


def test_the_original_is_not_replicated(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, "method=original", "search.replicates=3")
    assert [trial.name for trial in plan.trials] == ["original"]


# --- Early stopping --------------------------------------------------------------------------


def test_a_pruned_trial_has_ended_and_is_told_of(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, *BY_SAMPLER)
    queue = TrialQueue(Ledger.create(plan))
    while (trial := queue.next()) is not None and trial.kind != "search":
        queue.finish(trial, result_of(trial))
    assert trial is not None
    last = {"step": 30, "val/objective": 0.25, "val/violation": -0.1}
    queue.prune(trial, last)
    again = TrialQueue(Ledger.open(plan))
    assert again.ledger.counts()["pruned"] == 1
    (entry,) = [each for each in again.ledger.entries() if each.state == "pruned"]
    assert (entry.trial, entry.result["metrics"]) == (trial, last)
    run_all(again)
    assert again.ledger.counts() == {
        "finished": 8,
        "failed": 0,
        "pruned": 1,
        "outstanding": 0,
    }


def test_early_stopping_is_refused_where_ray_train_runs_the_trials(tmp_path: Path) -> None:
    from platform.plan.plan import LaunchConfig

    with pytest.raises(ConfigError, match="--launcher inline"):
        make_plan(
            ONE_FAMILY,
            name="a",
            storage=tmp_path,
            overrides=(*OURS, "search.asha=true"),
            launch=LaunchConfig(workers=2),
        )


# --- Plans -----------------------------------------------------------------------------------


def test_a_plan_with_all_of_it_survives_its_file(tmp_path: Path) -> None:
    settings = (*BY_SAMPLER, "search.replicates=2", "search.asha=true", "search.goal=front")
    plan = plan_in(tmp_path, *settings, "search.sampler=nsga2", study=POINTS)
    write_plan(plan)
    assert read_plan(plan.folder) == plan


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("search.sampler=grid", "search.sampler='grid' is not one of tpe, nsga2"),
        ("search.goal=fast", "search.goal='fast' is not one of feasible, front (close: feasible)"),
        ("search.asha=yes", "search.asha='yes' is not true or false"),
        ("search.replicates=-1", "search.replicates=-1 is below 0"),
    ],
)
def test_what_a_search_cannot_be_is_refused(tmp_path: Path, setting: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_in(tmp_path, setting)
    assert told in caught.value.problems
