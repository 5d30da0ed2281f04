"""A whole tiny sweep of the seven variants: files, record, repetition, and a trial that fails."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from platform.plan.plan import Plan
from platform.plan.serialization import read_plan
from platform.storage.results import COLUMNS
from tests.helpers.sweeps import Ended, ledger_states, run, sweep, times, with_cache_of
from trainables.config import to_dict

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]

VARIANTS = {
    "original": "Original",
    "max_loss": "Max Loss",
    "noisy_label": "Noisy Label",
    "retain_label": "Retain Label",
    "random_encoder": "Random Encoder",
    "ours": "Ours",
    "ours_proxy": "Ours, proxy",
}
TRIALS = {*VARIANTS, *(f"{name}-s1" for name in VARIANTS if name != "original")}
LEFT = {
    *("weights.safetensors", "samples.png", "samples.parquet", "embeddings.parquet"),
    *("tsne.png", "tsne.pdf", "config.json", "history.json", "result.json"),
}
MEASURED = [
    f"{split}{role}/{name}"
    for split in ("", "val/")
    for role in ("retain", "forget")
    for name in ("fid", "is_mean", "is_std", "clip")
]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep") / "runs"


@pytest.fixture(scope="module")
def ended(storage: Path) -> Ended:
    return run(sweep(storage, "search.trials=1"))


@pytest.fixture(scope="module")
def folder(storage: Path, ended: Ended) -> Path:
    assert ended.status == 0, ended
    return storage / "quickstart"


@pytest.fixture(scope="module")
def plan(folder: Path) -> Plan:
    return read_plan(folder)


@pytest.fixture(scope="module")
def rows(folder: Path) -> dict[str, Any]:
    return rows_of(folder)


def rows_of(folder: Path) -> dict[str, Any]:
    return {row["name"]: row for row in pq.read_table(folder / "results.parquet").to_pylist()}


class Record:
    """What MLflow holds of the study."""

    def __init__(self, storage: Path) -> None:
        self.client = MlflowClient(tracking_uri=f"sqlite:///{storage / 'mlflow.db'}")
        experiment = self.client.get_experiment_by_name("quickstart")
        assert experiment is not None
        self.runs = list(self.client.search_runs([experiment.experiment_id]))
        self.parents = [each for each in self.runs if "mlflow.parentRunId" not in each.data.tags]
        self.children = {each.info.run_name: each for each in self.runs if each not in self.parents}

    def files(self, run: Run, folder: str | None = None) -> set[str]:
        return {file.path for file in self.client.list_artifacts(run.info.run_id, folder)}


@pytest.fixture(scope="module")
def record(storage: Path, folder: Path) -> Record:
    return Record(storage)


# --- The terminal and the files --------------------------------------------------------------


def test_the_sweep_ends_well_and_silently(ended: Ended) -> None:
    assert (ended.status, ended.err) == (0, "")
    # a slow machine is told first what it waits for
    assert re.match(r"(Opening the ledger .*\n)?Sweep quickstart: ", ended.out)
    assert "13 trials, " in ended.out
    assert "[13/13] " in ended.out


def test_the_table_shows_the_seven_variants_with_their_pictures(ended: Ended, folder: Path) -> None:
    lines = ended.out.splitlines()
    for label in VARIANTS.values():
        (line,) = [each for each in lines if each.replace("*", " ").startswith(f"{label}  ")]
        assert (folder / line.split()[-1]).is_file()
    assert any(line.startswith("FD (photos CNN) of the test images") for line in lines)
    assert "-m analysis.tables quickstart --storage " in ended.out
    assert "-m mlflow ui --backend-store-uri sqlite:///" in ended.out


def test_every_trial_leaves_its_files(folder: Path, plan: Plan) -> None:
    assert {trial.name for trial in plan.trials} == TRIALS
    for trial in plan.trials:
        place = plan.trial_folder(trial)
        assert {path.name for path in place.iterdir()} == LEFT
        assert json.loads((place / "config.json").read_text()) == to_dict(trial.config)
        assert json.loads((place / "result.json").read_text())["trial_key"] == trial.key
    assert {path.name for path in (folder / "trials").iterdir()} == TRIALS


def test_the_results_have_a_row_a_trial_and_a_column_a_metric(
    folder: Path, plan: Plan, rows: dict[str, Any]
) -> None:
    names = pq.read_schema(folder / "results.parquet").names
    assert {*COLUMNS, *MEASURED, "val/objective", "val/violation", "grey/forget/fid"} <= {*names}
    assert list(rows) == [trial.name for trial in plan.trials]
    for trial in plan.trials:
        row = rows[trial.name]
        assert (row["trial_key"], row["state"], row["study"]) == (
            trial.key,
            "finished",
            "quickstart",
        )
        assert (row["lr"], row["seed"]) == (trial.config.canonical().unlearn.lr, 0)
        assert {row[name] for name in ("fid_extractor", "is_extractor", "clip_model")} == {
            "photos CNN"
        }
        assert row["duration_s"] > 0
        assert all(math.isfinite(row[name]) for name in MEASURED)


def test_the_original_is_what_the_others_are_compared_with(rows: dict[str, Any]) -> None:
    original = rows["original"]
    assert original["val/objective"] == 0.0
    for row in rows.values():
        ratio = row["val/forget/fid"] / original["val/forget/fid"]
        assert row["val/objective"] == pytest.approx(math.log(ratio))
    assert len({row["retain/fid"] for row in rows.values()}) == len(rows)


def test_the_sweep_leaves_its_plan_manifest_and_environment(folder: Path) -> None:
    manifest = pq.read_table(folder / "manifest.parquet")
    assert set(manifest.column_names) == {
        *("path", "class", "role", "split", "content_hash", "data_hash")
    }
    assert {*manifest["role"].to_pylist()} == {"forget", "retain", "proxy"}
    described = json.loads((folder / "environment.json").read_text())
    assert {"python", "packages", "cpu", "git_commit", "lock_sha256"} <= described.keys()
    assert described["packages"]["torch"]
    assert not (folder / "refused.json").exists()


def test_the_ledger_holds_every_trial_as_complete(folder: Path) -> None:
    assert ledger_states(folder) == {"COMPLETE"}


# --- The record ------------------------------------------------------------------------------


def test_the_record_is_a_parent_and_a_child_a_trial(record: Record, plan: Plan) -> None:
    (parent,) = record.parents
    assert parent.info.run_name == "quickstart"
    assert set(record.children) == TRIALS
    assert {each.info.status for each in record.runs} == {"FINISHED"}
    assert {"plan.json", "results.parquet", "environment.json", "manifest.parquet"} <= record.files(
        parent
    )
    for trial in plan.trials:
        tags = record.children[trial.name].data.tags
        assert tags["mlflow.parentRunId"] == parent.info.run_id
        assert (tags["trial_key"], tags["method"]) == (trial.key, trial.config.method)
        assert {"model", "seed", "study", "git_commit", "data_hash", "fid_extractor"} <= tags.keys()


def test_a_trials_record_has_params_metrics_by_step_and_artifacts(
    record: Record, rows: dict[str, Any], plan: Plan
) -> None:
    for trial in plan.trials:
        child, row = record.children[trial.name], rows[trial.name]
        steps = [0] if trial.config.method == "original" else [2, 4]
        for name in MEASURED:
            points = record.client.get_metric_history(child.info.run_id, name)
            assert [point.step for point in points] == steps
            assert points[-1].value == row[name]
        if trial.config.method != "original":
            assert float(child.data.params["forget_alpha"]) == row["forget_alpha"]
            assert float(child.data.params["lr"]) == row["lr"]
        assert {"samples.png", "tsne.png", "config.json", "result.json"} <= record.files(child)
        assert {"files/weights.safetensors", "files/embeddings.parquet"} <= record.files(
            child, "files"
        )


# --- Again, and with a failure ---------------------------------------------------------------


def test_the_same_sweep_elsewhere_gives_the_same_figures_to_the_last_bit(
    tmp_path: Path, rows: dict[str, Any]
) -> None:
    again = run(sweep(tmp_path / "again", "search.trials=1"))
    assert again.status == 0, again
    found = rows_of(tmp_path / "again" / "quickstart")
    assert list(found) == list(rows)
    for name, row in rows.items():
        figures = {metric: value for metric, value in row.items() if "/" in metric}
        assert figures == {metric: found[name][metric] for metric in figures}
        assert row["trial_key"] == found[name]["trial_key"]


def test_a_trial_that_is_not_finite_fails_alone(
    storage: Path, tmp_path: Path, ended: Ended
) -> None:
    wild = ("method=original,max_loss", "unlearn.lr=9", "unlearn.clip=1e30", "search.trials=0")
    elsewhere = with_cache_of(storage, tmp_path)
    failing = run(sweep(elsewhere, *wild, options=["--name", "wild"]))
    assert (failing.status, failing.err) == (1, "")
    assert "max_loss failed: non-finite: " in failing.out
    (line,) = [each for each in failing.out.splitlines() if each.startswith("Max Loss ")]
    assert line.split()[2:] == ["failed", "none", "of", "0"]
    assert "1 of 2 trials did not finish (non-finite 1)." in failing.out

    found = rows_of(tmp_path / "wild")
    assert {name: row["state"] for name, row in found.items()} == {
        "original": "finished",
        "max_loss": "failed",
    }
    assert found["max_loss"]["failure"] == "non-finite"
    assert ledger_states(tmp_path / "wild") == {"COMPLETE", "FAIL"}
    assert set(times(tmp_path / "wild")) == {"original"}
    assert "Traceback" in (tmp_path / "wild/trials/max_loss/error.txt").read_text()
    record = Record(tmp_path)
    assert record.children["max_loss"].info.status == "FAILED"
    assert record.children["max_loss"].data.tags["failure"] == "non-finite"
    assert {each.info.status for each in record.runs} == {"FINISHED", "FAILED"}


def test_an_original_that_is_not_finite_fails_the_trials_on_it_alone(tmp_path: Path) -> None:
    wild = ("method=original", "pretrain.lr=0.003,9", "pretrain.clip=1e30", "search.trials=0")
    failing = run(sweep(tmp_path, *wild, options=["--name", "wild"]))
    assert failing.status == 1, failing
    found = {row["failure"]: row["state"] for row in rows_of(tmp_path / "wild").values()}
    assert found == {None: "finished", "non-finite": "failed"}
    assert ledger_states(tmp_path / "wild") == {"COMPLETE", "FAIL"}
