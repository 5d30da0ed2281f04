"""A sweep's folder: the rows and columns of its results, and what is refused in one line."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from platform.plan.build import replicate
from platform.plan.plan import Plan, PlannedTrial
from platform.plan.serialization import plan_to_dict, write_plan
from platform.storage.environment import write_environment
from platform.storage.results import COLUMNS, result_row, unseeded, write_results
from platform.storage.sweep_folder import RecordError, read_json, read_sweep
from tests.helpers.earlier import as_recorded_before
from tests.helpers.recorded import plan_of, result_of, trial
from trainables.config import UnlearnConfig
from trainables.config.overrides import apply_overrides
from trainables.utils.files import write_json

NAMED = """trial_key study model method retain_source forget_alpha lr seed state duration_s
    fid_extractor is_extractor clip_model"""
MEASURED = [
    f"{split}{role}/{name}"
    for split in ("", "val/")
    for role in ("retain", "forget")
    for name in ("fid", "is_mean", "is_std", "clip")
]


def trials() -> tuple[PlannedTrial, ...]:
    return (
        trial("original", unlearn=UnlearnConfig(lr=5e-4)),
        trial("ours_proxy", seed=7),
        trial("max_loss", 1, forget_alpha=0.5, unlearn=UnlearnConfig(lr=3e-3)),
    )


def record(plan: Plan) -> None:
    """A finished original, a failed and an interrupted trial."""
    original, proxy, loss = plan.trials
    rows = [
        result_row(plan, original, "finished", result_of(original)),
        result_row(plan, proxy, "failed", failure="non-finite", duration_s=1.25),
        result_row(plan, loss, "interrupted"),
    ]
    write_results(plan.folder, rows)
    write_plan(plan)
    write_environment(plan.folder)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    plan = plan_of(tmp_path_factory.mktemp("recorded"), trials())
    record(plan)
    return plan


@pytest.fixture
def folder(recorded: Plan, tmp_path: Path) -> Path:
    """A copy of the sweep's folder that a test may damage."""
    shutil.copytree(recorded.folder, tmp_path / recorded.name)
    return tmp_path / recorded.name


def refusal(folder: Path) -> str:
    with pytest.raises(RecordError) as caught:
        read_sweep(folder.parent, folder.name).rows()
    line = str(caught.value)
    assert "\n" not in line
    return line


# --- What is written -------------------------------------------------------------------------


def test_the_results_have_the_documented_columns_with_their_types(recorded: Plan) -> None:
    table = pq.read_table(recorded.folder / "results.parquet")
    assert set(NAMED.split()) <= set(table.column_names)
    assert {*MEASURED, "val/objective", "val/violation"} <= set(table.column_names)
    types = {field.name: field.type for field in table.schema}
    assert {types[name] for name in MEASURED} == {pa.float64()}
    assert (types["trial_key"], types["seed"], types["lr"]) == (
        pa.string(),
        pa.int64(),
        pa.float64(),
    )
    assert {name: types[name] for name in COLUMNS} == dict(COLUMNS)


def test_a_row_a_trial_in_the_order_of_the_plan(recorded: Plan) -> None:
    sweep = read_sweep(recorded.storage, recorded.name)
    original, proxy, loss = sweep.rows()
    assert [row["trial_key"] for row in (original, proxy, loss)] == [
        each.key for each in recorded.trials
    ]
    states = [(row["state"], row["failure"], row["duration_s"]) for row in (original, proxy, loss)]
    assert states == [
        ("finished", None, 3.5),
        ("failed", "non-finite", 1.25),
        ("interrupted", None, None),
    ]
    assert (proxy["method"], proxy["retain_source"], proxy["seed"]) == ("ours", "proxy", 7)
    assert (loss["forget_alpha"], loss["lr"], loss["kind"]) == (0.5, 3e-3, "search")
    assert {row["study"] for row in (original, proxy, loss)} == {"quickstart"}
    assert original["retain/fid"] == 17.0
    assert {proxy[name] for name in (*MEASURED, "fid_extractor", "data_hash")} == {None}
    assert original["fid_extractor"] == "photos CNN"


def test_the_original_shows_nothing_that_it_ignores(recorded: Plan) -> None:
    original = read_sweep(recorded.storage, recorded.name).rows()[0]
    assert original["forget_alpha"] == 0.0
    assert original["lr"] == UnlearnConfig().lr


def test_metrics_survive_to_the_last_bit_and_only_named_ones_are_columns(recorded: Plan) -> None:
    planned = recorded.trials[0]
    result = result_of(planned)
    result["metrics"] = {"retain/fid": 0.1 + 0.2, "forget/fid": math.nan, "step": 120}
    row = result_row(recorded, planned, "finished", result, duration_s=0.0)
    assert row["retain/fid"] == 0.1 + 0.2
    assert math.isnan(row["forget/fid"])
    assert "step" not in row
    assert row["duration_s"] == 0.0


def test_rows_of_different_metrics_make_one_table(recorded: Plan, tmp_path: Path) -> None:
    first, second = (
        result_row(recorded, each, "finished", {"metrics": {name: 1}})
        for each, name in zip(recorded.trials, ("b/y", "a/x"), strict=False)
    )
    table = pq.read_table(write_results(tmp_path, [first, second]))
    assert table.column_names == [*COLUMNS, "a/x", "b/y"]
    assert table["a/x"].to_pylist() == [None, 1.0]
    assert table["b/y"].to_pylist() == [1.0, None]


def test_results_replace_the_ones_before_and_leave_nothing_beside(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    write_results(folder, [])
    assert read_sweep(folder.parent, folder.name).rows() == []
    assert {path.name for path in folder.iterdir()} == names


def test_a_row_that_cannot_be_written_leaves_the_results_before(folder: Path) -> None:
    before = (folder / "results.parquet").read_bytes()
    with pytest.raises(pa.ArrowInvalid):
        write_results(folder, [{"seed": "seven"}])
    assert (folder / "results.parquet").read_bytes() == before
    assert {path.suffix for path in folder.iterdir()} == {".json", ".parquet"}


def test_the_environment_names_versions_hardware_commit_and_lock(recorded: Plan) -> None:
    found = read_sweep(recorded.storage, recorded.name).environment
    assert {"python", "os", "cpu", "cpu_count", "memory_gib", "gpus", "git_dirty"} <= set(found)
    assert re.fullmatch(r"3\.\d+\.\d+\S*", found["python"])
    assert {"torch", "ray", "optuna", "mlflow", "pyarrow"} <= set(found["packages"])
    assert found["packages"]["pyarrow"] == pa.__version__
    assert re.fullmatch(r"[0-9a-f]{64}", found["lock_sha256"])
    assert found["git_commit"] is None or re.fullmatch(r"[0-9a-f]{40}", found["git_commit"])


def test_the_plan_and_the_environment_are_plain_json(recorded: Plan) -> None:
    sweep = read_sweep(recorded.storage, recorded.name)
    assert sweep.plan == plan_to_dict(recorded)
    assert sweep.trial_folder(sweep.rows()[2]) == recorded.trial_folder(recorded.trials[2])


def test_json_is_written_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"é": 1})
    with pytest.raises(TypeError):
        write_json(path, {"bad": object()})
    assert read_json(path) == {"é": 1}
    assert list(tmp_path.iterdir()) == [path]


# --- What is refused -------------------------------------------------------------------------


def test_an_unknown_sweep_lists_the_close_names(folder: Path) -> None:
    storage = folder.parent
    assert "no sweep 'quikstart'" in refusal(storage / "quikstart")
    assert "(close: quickstart)" in refusal(storage / "quikstart")
    assert "holds no sweeps" in refusal(storage / "nowhere" / "quickstart")


def test_a_sweep_without_results_says_how_to_go_on(folder: Path) -> None:
    (folder / "results.parquet").unlink()
    line = refusal(folder)
    assert "has no results yet" in line
    assert f"--name quickstart --storage {folder.parent} --resume" in line


@pytest.mark.parametrize("name", ["results.parquet", "plan.json", "environment.json"])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: b"\x00" * len(content),
        lambda content: b"\xff\xfeforeign",
    ],
    ids=["emptied", "truncated", "zeros", "foreign"],
)
def test_a_damaged_file_is_named(folder: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    path = folder / name
    path.write_bytes(damage(path.read_bytes()))
    assert refusal(folder).startswith(f"{path} is damaged or truncated: ")


@pytest.mark.parametrize("broken", [b"\xff", b"\xc3("])
def test_texts_that_are_none_are_refused(folder: Path, broken: bytes) -> None:
    path = folder / "results.parquet"
    pq.write_table(pq.read_table(path), path, compression="none")
    content = path.read_bytes()
    assert b"ours_proxy" in content
    path.write_bytes(content.replace(b"ours_proxy", broken + b"ours_proxy"[len(broken) :]))
    assert refusal(folder).startswith(f"{path} is damaged or truncated: ")


@pytest.mark.parametrize("content", ["[]", "1", "null"])
def test_json_of_no_object_is_refused(folder: Path, content: str) -> None:
    path = folder / "plan.json"
    path.write_text(content)
    assert refusal(folder) == f"{path} is damaged: it holds no object"


def test_another_table_is_refused(folder: Path) -> None:
    path = folder / "results.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["lr", "state"]), path)
    assert refusal(folder) == f"{path} is no table of results: it lacks lr, state"


def test_the_environment_may_be_missing(folder: Path) -> None:
    (folder / "environment.json").unlink()
    assert read_sweep(folder.parent, folder.name).environment == {}


def test_a_trials_file_that_is_missing_or_damaged_is_named(folder: Path) -> None:
    sweep = read_sweep(folder.parent, folder.name)
    row: dict[str, Any] = sweep.rows()[0]
    path = sweep.trial_folder(row) / "embeddings.parquet"
    with pytest.raises(RecordError, match=r"trial original left no embeddings\.parquet: .* is mis"):
        sweep.trial_table(row, path.name)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"a": 1}))
    with pytest.raises(RecordError, match=rf"{re.escape(str(path))} is damaged or truncated"):
        sweep.trial_table(row, path.name)
    pq.write_table(pa.table({"group": ["forget"]}), path)
    assert sweep.trial_table(row, path.name).to_pylist() == [{"group": "forget"}]


def test_results_of_an_earlier_version_are_read_with_what_they_have(folder: Path) -> None:
    path = folder / "results.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["point", "config"]), path)
    sweep = read_sweep(folder.parent, folder.name)
    assert sweep.name == folder.name
    assert {row["point"] for row in sweep.rows()} == {row["config"] for row in sweep.rows()}
    assert {row["point"] for row in sweep.rows()} == {None}
    assert set(sweep.results.column_names) == set(table.column_names)


def test_rows_of_equal_point_differ_in_their_seeds_alone(recorded: Plan) -> None:
    one = next(each for each in recorded.trials if each.config.unlearns)
    again = replicate(one, 1)
    first, second = (result_row(recorded, each, "finished") for each in (one, again))
    assert first["point"] == second["point"]
    assert (second["seed"], second["kind"]) == (first["seed"] + 1, "replicate")
    assert json.loads(second["config"])["seed"] == second["seed"]
    other = apply_overrides(one.config, {"forget_alpha": 0.9})
    assert unseeded(other).key() != first["point"]


def test_a_sweep_that_calls_the_formulation_variant_is_read(folder: Path) -> None:
    new = read_sweep(folder.parent, folder.name)
    as_recorded_before(folder)
    old = read_sweep(folder.parent, folder.name)
    assert old.rows() == new.rows()
    assert old.plan == new.plan
    assert {row["formulation"] for row in old.rows()} == {"paper"}


def test_results_of_no_trial_still_have_their_columns(tmp_path: Path) -> None:
    table = pq.read_table(write_results(tmp_path, []))
    assert table.column_names == list(COLUMNS)
    assert table.num_rows == 0
    assert [path.name for path in tmp_path.iterdir()] == ["results.parquet"]
