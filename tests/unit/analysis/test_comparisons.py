"""Which trials repeat, which are compared, and which originals they are held against."""

import json

import pytest

from analysis.verdict import verdict
from tests.helpers.rows import (
    CRITERION,
    ORIGINAL,
    REFERENCE,
    comparisons_of,
    member_of,
    row,
    seeded,
)


def config(**changes):
    return json.dumps(
        {
            "model": "m",
            "method": "ours",
            "seed": 0,
            "forget_alpha": 0.25,
            "unlearn": {"lr": 1e-3, "steps": 60},
            "test_task": {"kind": "centre", "ratio": 0.5},
            "pretrain": {"seed": 0, "tasks": ["a", "b"]},
            "evaluation": {"seed": 0, "retain_tolerance": 0.1},
        }
        | changes
    )


def test_rows_that_differ_in_seeds_alone_are_one_measurement():
    (comparison,) = comparisons_of([REFERENCE, *seeded("ours", [(10.0, 20.0), (10.4, 24.0)])])
    (group,) = member_of(comparison, "ours").seed_groups
    estimate = group.estimate("forget/fid")
    assert (estimate.mean, estimate.n) == (22.0, 2)
    # s / sqrt(2) = 2, t(0.975, 1) = 12.7062
    assert estimate.high == pytest.approx(22.0 + 12.7062 * 2.0, rel=1e-5)
    assert member_of(comparison, "ours").default is group


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "planned"])
def test_without_the_column_point_the_configurations_tell_seed_groups(recorded):
    changes = [{"seed": 0}, {"seed": 1}, {"seed": 1, "forget_alpha": 0.5}]
    rows = [
        row("ours", 10.0, 20.0 + at, name=f"t{at}", point=None, seed=each["seed"])
        | ({"config": config(**each)} if recorded else {})
        for at, each in enumerate(changes)
    ]
    planned = [
        {"key": each["trial_key"], "name": each["name"], "config": json.loads(config(**change))}
        for each, change in zip(rows, changes, strict=True)
    ]
    (comparison,) = comparisons_of(rows, {} if recorded else {"trials": planned})
    names = [
        [trial.row["name"] for trial in group.trials] for group in comparison.members[0].seed_groups
    ]
    assert names == [["t0", "t1"], ["t2"]]


def test_rows_of_which_too_little_is_known_are_seed_groups_of_their_own():
    rows = [row("ours", 10.0, 20.0, name=name, point=None) for name in ("a", "b")]
    (comparison,) = comparisons_of(rows)
    assert [len(group.trials) for group in comparison.members[0].seed_groups] == [1, 1]


def test_a_trial_is_held_against_the_original_of_its_own_seeds():
    rows = [
        row("original", ORIGINAL * (1 + seed), 10.0, name=f"o{seed}", pretrain_seed=seed)
        for seed in (0, 1)
    ] + [row("ours", 20.0, 40.0, name=f"t{seed}", seed=seed, pretrain_seed=seed) for seed in (0, 1)]
    (comparison,) = comparisons_of([each | {"evaluation_seed": 0} for each in rows])
    trials = member_of(comparison, "ours").trials
    assert [trial.original["retain/fid"] for trial in trials] == [10.0, 20.0]
    assert trials[1].log_ratios() == pytest.approx((0.0, 1.3862944))


def test_without_an_original_nothing_has_log_ratios():
    (comparison,) = comparisons_of([row("ours", 10.0, 20.0)])
    assert comparison.members[0].trials[0].log_ratios() is None
    assert comparison.members[0].candidates == []


def test_trials_of_other_tasks_are_not_compared():
    tasks = {name: {"kind": "centre", "ratio": ratio} for name, ratio in (("a", 0.5), ("b", 0.25))}
    rows = [
        row(
            *(method, 10.0 * (1 + at), 20.0),
            name=f"{method}-{name}",
            kind="grid" if at else "default",
            test_task=f"centre_{task['ratio']}",
            config=config(method=method, test_task=task),
        )
        for at, (name, task) in enumerate(tasks.items())
        for method in ("original", "ours")
    ]
    first, second = comparisons_of(rows)
    assert (first.title, first.stem) == ("m, test_task.ratio 0.5", "m")
    assert (second.title, second.stem) == ("m, test_task.ratio 0.25", "m_2")
    assert [trial.row["name"] for trial in member_of(second, "ours").trials] == ["ours-b"]
    assert member_of(second, "ours").trials[0].original["retain/fid"] == 20.0
    assert verdict([first, second], CRITERION)[0].startswith("No baseline was run beside Ours")
