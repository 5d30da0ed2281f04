"""A plan as a file: written whole, read back equal, refused in one line where it is damaged."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from platform.plan.build import make_plan
from platform.plan.plan import LaunchConfig, Plan
from platform.plan.serialization import (
    PlanError,
    difference,
    plan_digest,
    plan_from_dict,
    plan_to_dict,
    read_plan,
    write_plan,
)
from tests.helpers.studies import ONE_FAMILY
from trainables.config import UnlearnConfig
from trainables.utils.hashing import seal

STEPS = UnlearnConfig().steps
QUICKSTART = ONE_FAMILY
SETTINGS = (
    *("method=original,ours", "search.trials=2"),
    *("data.forget=coffee", "data.retain=rocket", "data.proxy=moon"),
)


def plan_in(
    storage: Path, settings: Sequence[str] = SETTINGS, seed: int = 3, **launch: Any
) -> Plan:
    """A plan of three groups, with its empty folder."""
    plan = make_plan(
        QUICKSTART,
        name="a",
        storage=storage,
        overrides=settings,
        seed=seed,
        launch=LaunchConfig(**launch),
    )
    plan.folder.mkdir(parents=True, exist_ok=True)
    return plan


def refusal(plan: Plan, content: bytes) -> str:
    """Why a `plan.json` of this content is refused: one line that names the file."""
    path = plan.folder / "plan.json"
    path.write_bytes(content)
    with pytest.raises(PlanError) as caught:
        read_plan(plan.folder)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line


def changed(plan: Plan, change: Callable[[dict[str, Any]], Any]) -> bytes:
    values = plan_to_dict(plan)
    change(values)
    return json.dumps(seal(values)).encode()


def test_a_plan_survives_its_dictionary_and_json(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, workers=2, gpus_per_trial=0.5, launcher="train", max_concurrent=3)
    again = plan_from_dict(json.loads(json.dumps(plan_to_dict(plan))))
    assert again == plan
    assert again.trials[-1].config.data.forget == ("coffee",)
    assert again.groups[1].space == QUICKSTART.space


def test_a_written_plan_is_read_back_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    assert write_plan(plan) == plan.folder / "plan.json"
    assert read_plan(plan.folder) == plan
    assert [path.name for path in plan.folder.iterdir()] == ["plan.json"]


def test_a_plan_is_read_where_its_folder_lies_now(tmp_path: Path) -> None:
    plan = plan_in(tmp_path / "before")
    write_plan(plan)
    moved = tmp_path / "after" / "b"
    moved.parent.mkdir()
    plan.folder.rename(moved)
    read = read_plan(moved)
    assert (read.storage, read.name, read.folder) == (moved.parent, "b", moved)
    assert plan_digest(read) == plan_digest(plan)
    assert read.trial_folder(read.trials[0]) == moved / "trials" / "original"


def test_files_of_no_plan_are_refused(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    whole = json.dumps(seal(plan_to_dict(plan))).encode()
    for content in (b"", whole[: len(whole) // 2], whole[:-1], b"\xff\xfe" + whole, b"\x00" * 64):
        assert "cannot be read" in refusal(plan, content)
    for content in (b"[1, 2]", b"{}", json.dumps(plan_to_dict(plan)).encode()):
        assert "it holds no sealed object" in refusal(plan, content)
    assert "'study' is missing" in refusal(plan, json.dumps(seal({})).encode())
    for old, new in ((b'"kind": "default"', b'"kind": "defauld"'), (b"original", b"originel")):
        assert old in whole
        assert "is not what was written" in refusal(plan, whole.replace(old, new, 1))


def test_a_missing_plan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"plan\.json cannot be read: .*No such file"):
        read_plan(tmp_path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda plan: plan.pop("groups"), "'groups' is missing"),
        (lambda plan: plan.pop("launch"), "'launch' is missing"),
        (lambda plan: plan.update(seed="7"), "seed is '7'"),
        (lambda plan: plan.update(seed=float("inf")), "seed is inf"),
        (lambda plan: plan.update(question=None), "question is None"),
        (lambda plan: plan.update(settings="seed=1"), "settings is 'seed=1'"),
        (lambda plan: plan.update(trials={}), "trials is {}"),
        (lambda plan: plan["launch"].update(workers="two"), "workers is 'two'"),
        (lambda plan: plan["launch"].update(max_concurrent=1.5), "max_concurrent is 1.5"),
        (lambda plan: plan["launch"].update(pods=1), "unexpected keyword argument 'pods'"),
        (lambda plan: plan["search"].update(trials=None), "trials is None"),
        (lambda plan: plan["groups"][0].update(trials="4"), "trials is '4'"),
        (lambda plan: plan["groups"][1]["space"].update(seed="{}"), "'type' is missing"),
        (lambda plan: plan["groups"][1]["config"].update(speed=1), "unknown field 'speed'"),
        (lambda plan: plan["trials"][1].pop("kind"), "'kind' is missing"),
        (lambda plan: plan["trials"][1].update(params=[]), "params is []"),
        (lambda plan: plan["trials"][1].update(key="0" * 12), "the key of trial ours is not"),
        (
            lambda plan: plan["trials"][1]["config"].update(forget_alpha=0.5),
            "the key of trial ours is not",
        ),
    ],
)
def test_an_altered_plan_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], told: str
) -> None:
    plan = plan_in(tmp_path)
    assert told in refusal(plan, changed(plan, change))


# --- What a resumed sweep may change ---------------------------------------------------------


def test_the_digest_ignores_the_place_and_how_many_run_at_once(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    same = dataclasses.replace(
        plan,
        name="b",
        storage=tmp_path / "elsewhere",
        question="?",
        overrides=(),
        launch=LaunchConfig(max_concurrent=5),
    )
    assert plan_digest(same) == plan_digest(plan)
    assert difference(plan, same) == []


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"seed": 4}, ["seed: 3 -> 4"]),
        ({"workers": 2}, ["launch.workers: 1 -> 2"]),
        ({"launcher": "train"}, ["launch.launcher: auto -> train"]),
        ({"settings": [*SETTINGS, "unlearn.steps=9"]}, [f"unlearn.steps: {STEPS} -> 9"]),
        (
            {"settings": ["method=original", *SETTINGS[1:]]},
            ["variant ours: no longer there", "variant ours_proxy: no longer there"],
        ),
        (
            {"settings": ["method=original,ours,max_loss", *SETTINGS[1:]]},
            ["variant max_loss: new"],
        ),
        ({"settings": [*SETTINGS, "search.generation=2"]}, ["search.generation: 4 -> 2"]),
    ],
)
def test_another_plan_has_another_digest_and_its_difference_is_told(
    tmp_path: Path, options: dict[str, Any], lines: list[str]
) -> None:
    old, new = plan_in(tmp_path), plan_in(tmp_path, **options)
    assert plan_digest(old) != plan_digest(new)
    assert difference(old, new) == lines


def test_an_axis_out_of_the_search_is_told(tmp_path: Path) -> None:
    old, new = plan_in(tmp_path), plan_in(tmp_path, [*SETTINGS, "forget_alpha=0.5"])
    told = difference(old, new)
    assert "forget_alpha: 0.25 -> 0.5" in told
    assert any(
        line.startswith("space.forget_alpha: {") and line.endswith("-> none") for line in told
    )


def test_another_order_of_trials_is_another_plan(tmp_path: Path) -> None:
    plan = plan_in(tmp_path)
    turned = dataclasses.replace(plan, trials=plan.trials[::-1])
    assert difference(plan, turned) == ["the trials that follow from the same options"]
