"""`--resume`: which sweep goes on, and what of it a call may not change."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

from platform.cli import sweep_names
from platform.cli.request import Request
from platform.cli.requested_plan import _relative_paths, plan_request
from platform.plan import estimate
from platform.plan.build import make_plan
from platform.plan.serialization import read_plan
from platform.search.ledger import Ledger
from platform.search.trial_queue import TrialQueue
from search_spaces import STUDIES
from tests.helpers.command import SETTINGS, Captured, planned, refused, setting, sweep
from tests.helpers.earlier import plan_as_recorded_before
from tests.helpers.ledgers import result_of, take
from trainables.utils.addresses import StorageError

STEPS = STUDIES["quickstart"].base.unlearn.steps


def test_a_resumed_sweep_is_the_recorded_one(capsys: Captured, tmp_path: Path) -> None:
    folder = sweep(tmp_path)
    for repeated in ([], setting(*SETTINGS), ["quickstart"], ["--seed", "0"]):
        out = planned(capsys, "--resume", "--name", "first", "--storage", tmp_path, *repeated)
        assert f"sweep first, resumed, in {folder}/" in out
        assert "5 trials: 3 at their defaults, 2 searched" in out


def test_how_many_trials_run_at_once_may_change(capsys: Captured, tmp_path: Path) -> None:
    sweep(tmp_path)
    out = planned(capsys, "--resume", "--storage", tmp_path, "--max-concurrent", 1)
    assert ": 1 at once\n" in out


def test_a_resumed_sweep_without_a_name_is_the_newest(capsys: Captured, tmp_path: Path) -> None:
    for age, name in enumerate(("a", "c", "b")):
        os.utime(sweep(tmp_path, name) / "plan.json", (1000 - age, 1000 - age))
    assert "sweep a, resumed" in planned(capsys, "--resume", "--storage", tmp_path)
    assert "sweep a, resumed" in planned(capsys, "quickstart", "--resume", "--storage", tmp_path)
    os.utime(tmp_path / "b" / "plan.json", (2000, 2000))
    assert "sweep b, resumed" in planned(capsys, "--resume", "--storage", tmp_path)


def test_a_resumed_sweep_asks_for_the_disk_of_what_is_outstanding_and_sync_for_none(
    capsys: Captured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = read_plan(sweep(tmp_path))
    whole, free = estimate.disk_bytes(plan), 10 * 2**20
    monkeypatch.setattr(estimate, "free_disk", lambda folder: free)
    resume = ("--resume", "--name", "first", "--storage", tmp_path)
    # before its ledger is there, all of it is outstanding
    assert f"may take {estimate.megabytes(whole)}: " in refused(capsys, *resume)[0]
    queue = TrialQueue(Ledger.create(plan))
    plan.cache.mkdir()
    for number in range(plan.total):
        (line,) = refused(capsys, *resume)
        assert "MB free and what is outstanding of the sweep may take " in line
        assert (estimate.megabytes(whole) in line) == (number == 0)
        trial = take(queue)
        queue.finish(trial, result_of(trial))
    assert "0 trials outstanding" in planned(capsys, *resume)
    free = 0
    assert plan_request(Request(storage=str(tmp_path), sync="first"), []).left is None


def test_nothing_to_resume_is_refused(capsys: Captured, tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    for made in (False, True):
        if made:
            storage.mkdir()
        (line,) = refused(capsys, "--resume", "--storage", storage)
        assert line == f"--resume: {storage} holds no sweep; --storage names its folder"
    (line,) = refused(capsys, "quickstart", "--resume", "--storage", storage)
    assert line.startswith(f"--resume: {storage} holds no sweep of quickstart; ")
    (line,) = refused(capsys, "--resume", "--name", "first", "--storage", storage)
    assert line == f"--resume: no sweep 'first'; {storage} holds none"
    (line,) = refused(capsys, "--sync", "first", "--storage", storage)
    assert line == f"--sync: no sweep 'first'; {storage} holds none"


@pytest.mark.parametrize("name", ["fist", ""])
def test_an_unknown_sweep_lists_those_that_are_there(
    capsys: Captured, tmp_path: Path, name: str
) -> None:
    sweep(tmp_path, "first")
    sweep(tmp_path, "other")
    (line,) = refused(capsys, "--resume", f"--name={name}", "--storage", tmp_path)
    close = " (close: first)" if name else ""
    assert line == f"--resume: no sweep {name!r}{close}; {tmp_path} holds first, other"


@pytest.mark.parametrize("damage", ["empty", "cut", "list", "altered", "lacking", "bytes"])
@pytest.mark.parametrize("named", [["--name", "first"], []])
def test_a_damaged_plan_is_refused(
    capsys: Captured, tmp_path: Path, damage: str, named: list[str]
) -> None:
    path = sweep(tmp_path) / "plan.json"
    text = path.read_text()
    values = json.loads(text)
    lacking = {name: value for name, value in values.items() if name != "groups"}
    values["trials"][1]["config"]["forget_alpha"] = 0.9
    path.write_bytes(
        {
            "empty": b"",
            "cut": text[: len(text) // 2].encode(),
            "list": b"[]",
            "altered": json.dumps(values).encode(),
            "lacking": json.dumps(lacking).encode(),
            "bytes": b"\xff\xfe\x00",
        }[damage]
    )
    (line,) = refused(capsys, "--resume", *named, "--storage", tmp_path)
    assert line.startswith(f"{path} ")


@pytest.mark.parametrize("named", [["--name", "first"], []])
def test_a_sweep_that_another_version_planned_is_refused(
    capsys: Captured, tmp_path: Path, named: list[str]
) -> None:
    folder = sweep(tmp_path)
    plan_as_recorded_before(folder)
    (line,) = refused(capsys, "--resume", *named, "--storage", tmp_path)
    assert line == (
        f"{folder}/plan.json was planned by another version of this program, or altered: "
        "unknown field 'variant' (renamed: formulation); environment.json names the commit"
    )


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (setting("unlearn.steps=7", *SETTINGS), f"unlearn.steps: {STEPS} -> 7"),
        (["--seed", "3"], "seed: 0 -> 3"),
        (setting("search.trials=2", "method=original,ours"), "search.trials: 1 -> 2"),
        (setting("method=original", "search.trials=1"), "variant ours: no longer there"),
        (["--launcher", "train"], "launch.launcher: auto -> train"),
    ],
)
def test_what_a_resumed_sweep_would_change_is_shown(
    capsys: Captured, tmp_path: Path, changed: list[str], told: str
) -> None:
    path = sweep(tmp_path) / "plan.json"
    before = path.read_bytes()
    (line,) = refused(capsys, "--resume", "--storage", tmp_path, *changed)
    assert line.startswith(
        "--resume goes on with 'first' as it was planned, and this call changes it ("
    )
    assert told in line
    assert line.endswith("leave these options out, or take another --name")
    assert path.read_bytes() == before


def test_faults_of_a_resumed_call_are_found_together(capsys: Captured, tmp_path: Path) -> None:
    sweep(tmp_path)
    wrong = ["--max-concurrent", "0", "--launcher", "rocket", *setting("nothing=1")]
    lines = refused(capsys, "--resume", "--storage", tmp_path, *wrong)
    assert len(lines) == 3


def test_a_moved_storage_is_resumed_where_it_lies(capsys: Captured, tmp_path: Path) -> None:
    sweep(tmp_path / "before")
    (tmp_path / "before").rename(tmp_path / "after")
    out = planned(capsys, "--resume", "--storage", tmp_path / "after")
    assert f"sweep first, resumed, in {tmp_path}/after/first/" in out


def test_a_setting_given_anew_takes_the_place_of_the_recorded_one_and_of_no_other(
    capsys: Captured, tmp_path: Path
) -> None:
    sweep(tmp_path)
    given = ("--resume", "--name", "first", "--storage", tmp_path)
    (line,) = refused(capsys, *given, *setting("unlearn.steps=3"))
    assert f"(unlearn.steps: {STEPS} -> 3)" in line


def test_paths_on_a_cluster_are_absolute(capsys: Captured, tmp_path: Path) -> None:
    lines = refused(capsys, "--address", "127.0.0.1:1", "--storage", "runs")
    assert lines == [
        "--storage=runs: on a cluster a path is absolute, and the same on every node",
    ]
    plan = make_plan(STUDIES["quickstart"], name="a", storage=tmp_path)
    config = plan.trials[0].config
    data = dataclasses.replace(
        config.data, source="folder", root="photos", split_file="/shared/roles.csv"
    )
    trial = dataclasses.replace(plan.trials[0], config=dataclasses.replace(config, data=data))
    assert _relative_paths(dataclasses.replace(plan, trials=(trial,)), str(tmp_path)) == [
        "data.root=photos: on a cluster a path is absolute, and the same on every node"
    ]


def test_retrying_and_syncing_go_on_with_a_sweep_that_is_there(
    capsys: Captured, tmp_path: Path
) -> None:
    (line,) = refused(capsys, "--sync", "first", "--storage", tmp_path)
    assert line.startswith("--sync: no sweep 'first'")
    (line,) = refused(capsys, "--retry-failed", "--name", "first", "--storage", tmp_path)
    assert line.startswith("--resume: no sweep 'first'")
    sweep(tmp_path, "first")
    (line,) = refused(capsys, "--sync", "first", "--name", "b", "--storage", tmp_path)
    assert line == "--sync first and --name b name two sweeps"
    for options in (
        {"retry_failed": True, "name": "first"},
        {"repair": True, "name": "first"},
        {"sync": "first"},
    ):
        call = plan_request(Request(storage=str(tmp_path), **options), [])
        assert (call.request.resume, call.plan.name) == (True, "first")


@pytest.mark.parametrize("option", [("--resume", "--name", "first"), ("--sync", "first")])
def test_a_storage_that_cannot_be_opened_is_the_one_fault_that_is_told(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch, option: tuple[str, ...]
) -> None:
    def away(address: str) -> Path:
        raise StorageError(f"--storage {address} cannot be used (it does not answer)")

    monkeypatch.setattr(sweep_names, "open_storage", away)
    (line,) = refused(capsys, *option, "--storage", "s3://bucket/runs")
    assert line == "--storage s3://bucket/runs cannot be used (it does not answer)"
