"""What a plan takes: its time and its room on the disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest

from platform.plan import estimate, resources
from platform.plan.build import make_plan
from platform.plan.plan import LaunchConfig, Outstanding, Plan
from tests.helpers.studies import ONE_FAMILY
from trainables.config import ModelName
from trainables.models import MODELS

TAKEN = (estimate.mean_trial_seconds, estimate.shared_seconds, estimate.disk_bytes)
MEASURED = ("pretrain_row", "unlearn_row", "complete_row", "artifacts", "megabytes")
ONE_AT_A_TIME = LaunchConfig(max_concurrent=1)


def planned(
    *settings: str, storage: Path = Path("runs"), launch: LaunchConfig = ONE_AT_A_TIME
) -> Plan:
    return make_plan(ONE_FAMILY, name="a", storage=storage, overrides=settings, launch=launch)


def test_every_model_has_its_costs() -> None:
    assert set(estimate.COSTS) == set(get_args(ModelName)) == set(MODELS)
    assert all(
        value > 0.0 for cost in estimate.COSTS.values() for value in dataclasses.astuple(cost)
    )


@pytest.mark.parametrize("model", [name for name in MODELS if not name.endswith("_tiny")])
def test_a_full_size_takes_more_of_everything_than_its_tiny_one(model: str) -> None:
    full, tiny = (planned(f"model={name}") for name in (model, f"{MODELS[model][0]}_tiny"))
    for taken in TAKEN:
        assert taken(full) > taken(tiny)


@pytest.mark.parametrize("model", ["mae_tiny", "mage_tiny", "palette_tiny"])
def test_a_model_costs_what_its_own_costs_say(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(f"model={model}", "pretrain.steps=900", "search.trials=0")
    before = [taken(plan) for taken in TAKEN]

    def doubled(names: set[ModelName]) -> list[float]:
        with monkeypatch.context() as changed:
            for name in names:
                cost = estimate.COSTS[name]
                twice = {field: 2 * getattr(cost, field) for field in MEASURED}
                changed.setitem(estimate.COSTS, name, dataclasses.replace(cost, **twice))
            return [taken(plan) for taken in TAKEN]

    every = set(get_args(ModelName))
    own = {name for name in every if name == model}
    assert doubled(every - own) == before
    assert all(now > then for now, then in zip(doubled(own), before, strict=True))


# --- Time ------------------------------------------------------------------------------------


def test_the_time_is_that_of_shared_work_and_of_every_trial() -> None:
    plan = planned()
    assert estimate.total_seconds(plan) == pytest.approx(
        estimate.shared_seconds(plan) + 31 * estimate.mean_trial_seconds(plan)
    )


def test_trials_that_run_together_share_the_time() -> None:
    plan = planned()
    wide = dataclasses.replace(plan, launch=LaunchConfig())
    assert estimate.total_seconds(wide) == pytest.approx(
        estimate.shared_seconds(plan)
        + 31 * estimate.mean_trial_seconds(plan) / resources.concurrency(wide)
    )


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ("unlearn.steps=120", "unlearn.steps=240"),
        ("unlearn.eval_every=40", "unlearn.eval_every=10"),
        ("unlearn.forget_batch=32", "unlearn.forget_batch=64"),
        ("data.test_per_class=64", "data.test_per_class=640"),
    ],
)
def test_a_longer_trial_takes_longer(less: str, more: str) -> None:
    assert estimate.mean_trial_seconds(planned(more)) > estimate.mean_trial_seconds(planned(less))


def test_the_original_is_not_unlearned() -> None:
    one = estimate.mean_trial_seconds(planned("method=original"))
    assert one == estimate.mean_trial_seconds(planned("method=original", "unlearn.steps=9999"))
    assert one < estimate.mean_trial_seconds(planned("method=ours", "search.trials=0"))


def test_shared_work_grows_with_its_steps_and_with_distinct_originals() -> None:
    short, long = planned("pretrain.steps=900"), planned("pretrain.steps=9000")
    two = planned("pretrain.seed=0,1")
    assert estimate.shared_seconds(short) == estimate.shared_seconds(planned("search.trials=0"))
    assert estimate.shared_seconds(short) < estimate.shared_seconds(two)
    assert estimate.shared_seconds(two) < estimate.shared_seconds(long)


def test_workers_take_their_time_to_start() -> None:
    inline = planned()
    trainer = dataclasses.replace(inline, launch=LaunchConfig(launcher="train"))
    assert estimate.mean_trial_seconds(trainer) > estimate.mean_trial_seconds(inline) + 10


def test_gpus_are_worth_many_cores_and_one_of_them_measures() -> None:
    plan = planned("model=mage_vit_base_patch16", "search.trials=0")
    none, half, one, two = (
        dataclasses.replace(
            plan, launch=LaunchConfig(gpus_per_trial=gpus, launcher="inline", max_concurrent=1)
        )
        for gpus in (0.0, 0.5, 1.0, 2.0)
    )
    for taken in (estimate.mean_trial_seconds, estimate.shared_seconds):
        assert taken(none) > 10 * taken(half) > 10 * taken(one)
    assert estimate.mean_trial_seconds(one) > estimate.mean_trial_seconds(two)
    assert estimate.shared_seconds(one) == estimate.shared_seconds(two)


# --- Disk ------------------------------------------------------------------------------------


def test_the_disk_is_asked_for_every_trial_also_those_that_tpe_proposes() -> None:
    few, many, later = (planned(f"search.trials={count}") for count in (0, 10, 20))
    sizes = [estimate.disk_bytes(plan) for plan in (few, many, later)]
    assert sizes[1] - sizes[0] == pytest.approx(sizes[2] - sizes[1], rel=1e-6)
    assert sizes[0] > 7 * estimate.COSTS["mae_tiny"].megabytes * 2**20


def test_every_original_takes_its_room_in_the_cache() -> None:
    large: ModelName = "mage_vit_large_patch16"

    def shared(*settings: str) -> float:
        plan = planned("search.trials=0", *settings)
        alone = dataclasses.replace(plan.whole, shared=False)
        return (estimate.disk_bytes(plan) - estimate.disk_bytes(plan, alone)) / 2**20

    weights = estimate.COSTS[large].megabytes
    assert shared("model=mae_tiny") == 40
    one = shared(f"model={large}")
    assert weights < one < 1.1 * weights
    assert shared(f"model={large}", "pretrain.seed=0,1") == one + weights


def test_what_is_outstanding_is_what_a_resumed_sweep_asks_for() -> None:
    plan = planned("search.trials=10")
    trial_bytes = 2 * estimate.COSTS["mae_tiny"].megabytes * 2**20

    def asked(count: int, later: int = 0, *, shared: bool = False) -> int:
        left = Outstanding(trials=plan.trials[:count], later=later, shared=shared)
        return estimate.disk_bytes(plan, left)

    assert asked(len(plan.trials), plan.whole.later, shared=True) == estimate.disk_bytes(plan)
    assert asked(3) - asked(2) == asked(2, 3) - asked(2, 2) == trial_bytes
    assert asked(2) < asked(2, shared=True)
    assert asked(0, 1) > trial_bytes
    assert asked(0) == 0


def test_a_sweep_takes_the_time_of_what_is_outstanding() -> None:
    plan = planned("search.trials=10")
    left = Outstanding(trials=plan.trials[-2:], later=3, shared=False)
    mean = estimate.mean_trial_seconds(plan, left)
    assert mean == estimate.trial_seconds(plan.trials[-1].config, plan)
    took = estimate.total_seconds(plan, left=left)
    assert took == pytest.approx(estimate.shared_seconds(plan, left) + 5 * mean)
    assert estimate.shared_seconds(plan, left) < estimate.shared_seconds(plan)


def test_a_disk_with_room_is_no_fault(tmp_path: Path) -> None:
    assert estimate.disk_problems(planned("search.trials=0", storage=tmp_path / "runs")) == []


def test_where_no_disk_is_nothing_can_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=0, free=0))
    assert estimate.disk_problems(planned(storage=tmp_path / "runs")) == [
        f"--storage {tmp_path / 'runs'}: nothing can be stored there, name another folder"
    ]


def test_a_disk_without_room_is_refused_with_both_sizes(tmp_path: Path) -> None:
    storage = tmp_path / "deep" / "runs"
    (line,) = estimate.disk_problems(planned("search.trials=100000000", storage=storage))
    assert line.startswith(f"--storage {storage} has ")
    assert "free and the sweep may take 4,687,5" in line
    assert line.endswith(" GB: make room, or name another folder")
    assert not storage.exists()
