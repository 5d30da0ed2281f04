"""A report on its sweep's run in a real MLflow, and the best models in its registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis import report
from platform.plan.plan import Plan
from platform.storage.sweep_folder import RecordError, read_sweep
from platform.tracking.publish import publish
from platform.tracking.recorder import Recorder
from tests.helpers.mlflow_server import serving
from tests.helpers.recorded import plan_of, record_sweep, result_of

pytestmark = [pytest.mark.slow]

# of the recorded sweep's variants only Ours has a trial that kept the retain set
MODEL = "quickstart-ours"


STUDY = "methods"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making one takes seconds, copying it none."""
    plan = plan_of(tmp_path_factory.mktemp("database"))
    Recorder(plan)
    return plan.storage / "mlflow.db"


def recorded(storage: Path, database: Path, tracking_uri: str | None = None) -> Plan:
    """A sweep with its record in MLflow."""
    storage.mkdir(exist_ok=True)
    if tracking_uri is None:
        shutil.copy(database, storage / "mlflow.db")
    # a study of its own, since the copied database knows the one it was made with
    plan = plan_of(storage, study=STUDY)
    record_sweep(plan)
    recorder = Recorder(plan, tracking_uri)
    for trial in plan.trials:
        folder = plan.trial_folder(trial)
        recorder.started(trial)
        if folder.is_dir():
            recorder.finished(trial, result_of(trial))
    recorder.close("failed")
    assert not recorder.missed
    return plan


class Seen:
    """What a reader finds in MLflow."""

    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self.client: Any = MlflowClient(tracking_uri=uri)
        experiment = self.client.get_experiment_by_name(STUDY)
        runs = list(self.client.search_runs([experiment.experiment_id]))
        (self.parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
        self.runs = {run.info.run_name: run for run in runs}
        self.files = {
            file.path for file in self.client.list_artifacts(self.parent.info.run_id, "analysis")
        }
        self.models = {model.name for model in self.client.search_registered_models()}
        self.versions = self.client.search_model_versions(f"name = '{MODEL}'")
        self.best = self.client.get_model_version_by_alias(MODEL, "best")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, database: Path) -> Iterator[str]:
    """A real MLflow server on loopback."""
    with serving(tmp_path_factory.mktemp("server"), database) as server:
        yield server.uri


@pytest.mark.parametrize("place", ["database", "server"])
def test_a_report_is_published_once_however_often(
    place: str, tmp_path: Path, database: Path, request: pytest.FixtureRequest
) -> None:
    uri = request.getfixturevalue("server") if place == "server" else None
    plan = recorded(tmp_path, database, uri)
    options = ["quickstart", "--storage", str(tmp_path), "--publish"]
    options += ["--tracking-uri", uri] if uri else []
    seen = []
    for _ in range(2):
        assert report.main(options) == 0
        seen.append(Seen(uri or f"sqlite:///{tmp_path / 'mlflow.db'}"))
    first, second = seen
    written = {f"analysis/{path.name}" for path in (plan.folder / "analysis").iterdir()}
    assert first.files == second.files == written
    assert {"analysis/report.html", "analysis/provenance.json"} < written

    assert first.models == second.models == {MODEL}
    assert [each.version for each in second.versions] == [first.best.version]
    assert second.best.run_id == second.runs["ours-s1"].info.run_id
    assert float(second.best.tags["forget/fid"]) == 45.0
    assert (second.best.tags["trial"], second.best.tags["data_hash"]) == ("ours-s1", "d0d0")

    told = [each.parent.data.tags["mlflow.note.content"] for each in seen]
    assert told[0] == told[1]
    assert "**Question.** Which variant forgets and harms least?" in told[0]
    assert told[0].count("**Report.**") == 1
    assert f"`models:/{MODEL}@best`, version 1" in told[0]
    assert second.parent.info.status == "FAILED"  # as the sweep left it
    assert second.parent.info.end_time == first.parent.info.end_time


def test_the_registered_model_can_be_fetched_by_its_alias(tmp_path: Path, database: Path) -> None:
    plan = recorded(tmp_path, database)
    assert report.main(["quickstart", "--storage", str(tmp_path), "--publish"]) == 0
    code = (
        "from mlflow.artifacts import download_artifacts;"
        f"print(download_artifacts(artifact_uri='models:/{MODEL}@best'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    weights = Path(done.stdout.splitlines()[-1]) / "weights.safetensors"
    assert (
        weights.read_bytes()
        == (plan.folder / "trials" / "ours-s1" / "weights.safetensors").read_bytes()
    )


def test_another_choice_is_another_version_and_takes_the_alias(
    tmp_path: Path, database: Path
) -> None:
    recorded(tmp_path, database)
    options = ["quickstart", "--storage", str(tmp_path), "--publish"]
    assert report.main(options) == 0
    sweep = read_sweep(tmp_path, "quickstart")
    (row,) = (row for row in sweep.rows() if row["name"] == "ours-s2")
    done = publish(sweep, sweep.folder / "analysis", chosen=[row])
    assert done.models == {MODEL: "2"}
    seen = Seen(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert seen.best.run_id == seen.runs["ours-s2"].info.run_id


def test_what_cannot_be_published_is_one_line(
    tmp_path: Path, database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded(tmp_path / "here", database)
    sweep = read_sweep(tmp_path / "here", "quickstart")
    with pytest.raises(RecordError, match=r"holds no report: python -m analysis\.report"):
        publish(sweep, tmp_path / "nothing")
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "here" / "quickstart", other / "quickstart")
    assert report.main(["quickstart", "--storage", str(other), "--publish"]) == 2
    assert "mlflow.db is missing: --tracking-uri names the MLflow" in capsys.readouterr().err
    assert (other / "quickstart" / "analysis" / "report.html").is_file()
    shutil.copy(database, other / "mlflow.db")
    assert report.main(["quickstart", "--storage", str(other), "--publish"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "this MLflow has no run of sweep 'quickstart'" in error
    assert "--sync quickstart records it" in error
