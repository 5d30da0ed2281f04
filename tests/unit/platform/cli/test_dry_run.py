"""What a dry run prints: the plan in words and in a table."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from platform.cli.dry_run import describe
from platform.plan.build import make_plan
from platform.plan.plan import LaunchConfig, Plan
from tests.helpers.studies import ONE_FAMILY

ONE_AT_A_TIME = LaunchConfig(max_concurrent=1)


def planned(*settings: str) -> Plan:
    return make_plan(
        ONE_FAMILY, name="a", storage=Path("runs"), overrides=settings, launch=ONE_AT_A_TIME
    )


def test_a_plan_is_described_as_new_or_resumed() -> None:
    plan = planned()
    assert describe(plan)[1] == "sweep a, new, in runs/a/"
    assert describe(plan, resumed=True)[1] == "sweep a, resumed, in runs/a/"


def test_columns_of_the_trials_are_aligned() -> None:
    plan = planned("search.trials=1")
    lines = describe(plan)[2:16]
    places = [lines[0].index(head) for head in ("key", "model", "alpha", "steps", "retain rows")]
    for line, trial in zip(lines[1:], plan.trials, strict=True):
        assert line.startswith(trial.name)
        assert line[places[0] :].startswith(trial.key)
        assert line[places[1] :].startswith("mae_tiny")
        if trial.config.method != "original":
            assert float(line[places[2] :].split()[0]) == pytest.approx(
                trial.config.forget_alpha, rel=0.01
            )
            assert line[places[4] :] == trial.config.retain_source


def test_the_original_has_no_alpha_no_rate_and_no_steps() -> None:
    (line,) = [line for line in describe(planned()) if line.startswith("original ")]
    assert line.split()[2:] == ["mae_tiny"]


def test_what_is_enumerated_and_searched_is_counted_apart() -> None:
    lines = describe(planned("forget_alpha=0.1,0.5", "search.trials=2"))
    assert "37 trials: 7 at their defaults, 6 enumerated, 24 searched" in lines
    assert "searched: unlearn.lr 0.0003 to 0.003 (log), 2 trials a variant" in lines


def test_a_plan_without_a_search_names_none() -> None:
    lines = describe(planned("search.trials=0"))
    assert "7 trials: 7 at their defaults" in lines
    assert not [line for line in lines if line.startswith("searched")]


def test_gpus_are_named_where_they_are_asked_for() -> None:
    plan = dataclasses.replace(planned(), launch=LaunchConfig(gpus_per_trial=0.5))
    assert "and 0.5 GPU(s), by Ray Train; " in "\n".join(describe(plan))
