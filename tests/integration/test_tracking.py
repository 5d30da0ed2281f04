"""The record in a real MLflow: what its reader finds, and what survives faults and resumption."""

import dataclasses
import json
import logging
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from platform.storage.environment import write_environment
from platform.storage.results import write_results
from platform.storage.sweep_folder import RecordError
from platform.tracking.client import is_final
from platform.tracking.recorder import Recorder
from tests.helpers.mlflow_server import serving
from tests.helpers.recorded import leave_files, plan_of, result_of
from trainables.config import to_dict
from trainables.utils.files import write_json
from trainables.utils.object_store import Mirror

CHILD_TAGS = {
    "trial_key",
    "group",
    "model",
    "method",
    "formulation",
    "retain_source",
    "seed",
    "study",
    "kind",
    "git_commit",
    "data_hash",
    "mlflow.parentRunId",
}


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    """An empty MLflow database: making one takes seconds, copying it none."""
    plan = plan_of(tmp_path_factory.mktemp("database"))
    Recorder(plan)
    return plan.storage / "mlflow.db"


@pytest.fixture
def plan(tmp_path, database):
    shutil.copy(database, tmp_path / "mlflow.db")
    # A study of its own, since the copied database knows the one it was made with.
    return plan_of(tmp_path, study="methods")


def report(step):
    return {"step": step, "retain/fid": 10.0 + step, "loss/total": 1.0 / step, "time_total_s": 3.0}


def run_trial(recorder, plan, trial, steps=(40, 120)):
    recorder.started(trial)
    for step in steps:
        recorder.reported(trial, report(step))
    folder = plan.folder / "trials" / trial.name
    result = result_of(trial) if folder.exists() else leave_files(folder, trial)
    recorder.finished(trial, result)


class Found:
    """What a reader of the record sees."""

    def __init__(self, uri, study="methods"):
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)
        self.experiment = self.client.get_experiment_by_name(study)
        runs = self.client.search_runs([self.experiment.experiment_id])
        self.parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        self.children = {run.data.tags["trial_key"]: run for run in runs if run not in self.parents}
        self.count = len(runs)

    def points(self, run, metric):
        history = self.client.get_metric_history(run.info.run_id, metric)
        return [(point.step, point.value) for point in history]

    def files(self, run, folder=None):
        return {file.path for file in self.client.list_artifacts(run.info.run_id, folder)}


def found_by(recorder):
    assert recorder.settle()
    return Found(recorder.tracking_uri)


def test_a_sweep_is_a_parent_with_a_child_a_trial(plan):
    recorder = Recorder(plan)
    for trial in plan.trials[:3]:
        run_trial(recorder, plan, trial)
    write_results(plan.folder, [])
    write_environment(plan.folder)
    recorder.close("finished")
    assert not recorder.missed

    found = found_by(recorder)
    (parent,) = found.parents
    assert (parent.info.run_name, parent.info.status) == ("quickstart", "FINISHED")
    assert "Which variant forgets and harms least?" in parent.data.tags["mlflow.note.content"]
    assert "python -m analysis.tables quickstart" in parent.data.tags["mlflow.note.content"]
    assert found.files(parent) == {"results.parquet", "environment.json"}
    assert set(found.children) == {trial.key for trial in plan.trials[:3]}
    assert found.experiment.artifact_location == (plan.storage / "mlartifacts").as_uri()
    for trial in plan.trials[:3]:
        run = found.children[trial.key]
        assert (run.info.run_name, run.info.status) == (trial.name, "FINISHED")
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags.keys() >= CHILD_TAGS
        assert run.data.tags["data_hash"] == "d0d0"
        assert run.info.end_time >= run.info.start_time


def test_the_files_of_a_record_that_was_brought_here_are_found(plan, tmp_path):
    for storage in (plan.storage, tmp_path / "moved"):
        Mirror(storage, (tmp_path / "place").as_uri()).mark()
    recorder = Recorder(plan)
    run_trial(recorder, plan, plan.trials[0])
    recorder.close("interrupted")
    before = found_by(recorder).files(found_by(recorder).children[plan.trials[0].key])
    assert "samples.png" in before

    moved = dataclasses.replace(plan, storage=tmp_path / "moved")
    plan.folder.rename(moved.folder)
    recorder = Recorder(moved)
    run_trial(recorder, moved, plan.trials[1])
    recorder.close("finished")
    assert not recorder.missed
    found = found_by(recorder)
    place = (moved.folder / "mlartifacts").as_uri()
    assert found.experiment.artifact_location == place
    for trial in plan.trials[:2]:
        run = found.children[trial.key]
        assert run.info.artifact_uri.startswith(f"{place}/")
        assert found.files(run) == before


def test_a_trial_has_params_metrics_by_step_and_its_files(plan):
    recorder = Recorder(plan)
    original, ours = plan.trials[0], plan.trials[6]
    for trial in (original, ours):
        run_trial(recorder, plan, trial)
    found = found_by(recorder)
    run = found.children[ours.key]
    assert run.data.params == {
        "model": "mae_tiny",
        "method": "ours",
        "retain_source": "real",
        "forget_alpha": "0.1",
        "lr": "0.003",
        "steps": "100",
        "seed": "0",
    }
    assert set(found.children[original.key].data.params) == {"model", "method", "seed"}
    assert found.points(run, "retain/fid") == [(40, 50.0), (120, 130.0)]
    assert found.points(run, "val/objective") == [
        (step, pytest.approx(result_of(ours)["metrics"]["val/objective"])) for step in (40, 120)
    ]
    assert run.data.metrics["time/total_s"] == 3.5
    assert "time_total_s" not in run.data.metrics
    assert found.files(run) == {"samples.png", "tsne.png", "config.json", "result.json", "files"}
    assert found.files(run, "files") == {
        f"files/{name}"
        for name in (
            "embeddings.parquet",
            "history.json",
            "samples.parquet",
            "weights.safetensors",
        )
    }
    local = found.client.download_artifacts(run.info.run_id, "config.json")
    assert json.loads(Path(local).read_text())["forget_alpha"] == 0.1


def test_a_configuration_is_the_same_file_whoever_brings_it(plan, tmp_path):
    recorder = Recorder(plan)
    trial = plan.trials[6]
    recorder.started(trial)
    found = found_by(recorder)
    run = found.children[trial.key]
    local = found.client.download_artifacts(run.info.run_id, "config.json")
    write_json(tmp_path / "config.json", to_dict(trial.config))
    assert Path(local).read_bytes() == (tmp_path / "config.json").read_bytes()


def test_a_failed_trial_says_why_and_a_retry_mends_it(plan):
    recorder = Recorder(plan)
    trial = plan.trials[1]
    recorder.started(trial)
    recorder.failed(trial, "non-finite", "the loss became NaN at step 17")
    run = found_by(recorder).children[trial.key]
    assert run.info.status == "FAILED"
    assert run.data.tags["failure"] == "non-finite"
    assert "NaN at step 17" in run.data.tags["mlflow.note.content"]
    run_trial(recorder, plan, trial)
    found = found_by(recorder)
    assert found.count == 2
    assert found.children[trial.key].info.status == "FINISHED"
    assert "failure" not in found.children[trial.key].data.tags


def test_a_failed_trial_that_is_finished_without_being_run_is_failed_no_more(plan):
    recorder = Recorder(plan)
    trial = plan.trials[1]
    recorder.started(trial)
    recorder.failed(trial, "worker lost", "the process died")
    recorder.close("failed")
    # it had left its result, or another sweep had
    result = leave_files(plan.folder / "trials" / trial.name, trial)
    again = Recorder(plan)
    again.finished(trial, result)
    again.close("finished")
    run = found_by(again).children[trial.key]
    assert run.info.status == "FINISHED"
    assert run.data.tags["recorded"] == "whole"
    assert not {"failure", "mlflow.note.content"} & set(run.data.tags)


def test_a_resumed_sweep_goes_on_with_its_runs(plan):
    killed = Recorder(plan)
    done, under_way, outstanding = plan.trials[:3]
    run_trial(killed, plan, done)
    killed.started(under_way)
    killed.reported(under_way, report(40))
    assert killed.settle()
    del killed  # as a kill would: the runs stay RUNNING

    resumed = Recorder(plan)
    assert resumed.ended_before("finished") == {done.key}
    assert found_by(resumed).parents[0].info.status == "RUNNING"
    run_trial(resumed, plan, under_way)
    run_trial(resumed, plan, outstanding)
    resumed.close("finished")

    found = found_by(resumed)
    assert found.count == 4
    statuses = {run.info.status for run in [*found.parents, *found.children.values()]}
    assert statuses == {"FINISHED"}
    assert found.points(found.children[under_way.key], "retain/fid") == [(40, 50.0), (120, 130.0)]


def test_an_interrupted_sweep_leaves_nothing_running(plan):
    recorder = Recorder(plan)
    recorder.started(plan.trials[0])
    run_trial(recorder, plan, plan.trials[1])
    recorder.close("interrupted")
    found = found_by(recorder)
    assert found.parents[0].info.status == "KILLED"
    assert found.children[plan.trials[0].key].info.status == "KILLED"
    assert found.children[plan.trials[1].key].info.status == "FINISHED"


def test_runs_of_one_key_and_runs_of_no_trial_are_ended_too(plan):
    recorder = Recorder(plan)
    recorder.started(plan.trials[0])
    found = found_by(recorder)
    run = found.children[plan.trials[0].key]
    tags = {"mlflow.parentRunId": run.data.tags["mlflow.parentRunId"]}
    experiment = found.experiment.experiment_id
    # one whose making was answered too late, and one that a reader made in the interface
    late = found.client.create_run(experiment, tags={**tags, "trial_key": plan.trials[0].key})
    by_hand = found.client.create_run(experiment, tags=tags)
    recorder.close("finished")
    assert not recorder.missed
    for made in (run, late, by_hand):
        assert found.client.get_run(made.info.run_id).info.status == "KILLED"
    assert found.client.get_run(tags["mlflow.parentRunId"]).info.status == "FINISHED"


def test_a_finished_trial_whose_reports_were_never_recorded_is_whole(plan):
    trial = plan.trials[3]
    result = leave_files(plan.folder / "trials" / trial.name, trial)
    recorder = Recorder(plan)
    recorder.finished(trial, result)
    found = found_by(recorder)
    steps = [step for step, _ in found.points(found.children[trial.key], "forget/fid")]
    assert steps == [40, 120]


def test_a_name_used_again_after_its_folder_went_is_another_sweep(plan):
    first = Recorder(plan)
    run_trial(first, plan, plan.trials[0])
    first.close("finished")
    shutil.rmtree(plan.folder)
    plan.folder.mkdir()
    second = Recorder(plan)
    assert second.ended_before("finished") == set()
    assert len(found_by(second).parents) == 2


def test_more_metrics_than_a_batch_holds(plan):
    recorder = Recorder(plan)
    trial = plan.trials[1]
    recorder.reported(trial, {"step": 1, **{f"retain/m{i}": float(i) for i in range(2300)}})
    assert not recorder.missed
    assert len(found_by(recorder).children[trial.key].data.metrics) == 2300


def test_many_trials_are_all_found_again(plan):
    recorder = Recorder(plan)
    page = recorder._runs._client.search_runs

    def short_pages(experiments, wanted, kind, page_token=None):
        return page(experiments, wanted, kind, max_results=2, page_token=page_token)

    for trial in plan.trials:
        recorder.started(trial)
    assert recorder.settle()
    recorder._runs._client.search_runs = short_pages
    assert set(recorder._runs.runs_by_key()) == {trial.key for trial in plan.trials}


def test_an_outage_is_one_line_and_what_it_missed_is_recorded_when_it_is_over(plan, caplog):
    recorder = Recorder(plan)
    trial = plan.trials[1]
    recorder.started(trial)
    assert recorder.settle()
    client = recorder._runs._client
    recorder._runs._client = None  # every call fails
    with caplog.at_level(logging.WARNING):
        recorder.reported(trial, report(40))
        run_trial(recorder, plan, trial, steps=(120,))
        run_trial(recorder, plan, plan.trials[2])
        assert not recorder.settle(patience_s=1.0)
    assert len(caplog.records) == 1
    assert "the sweep goes on" in caplog.text
    recorder._runs._client = client
    found = found_by(recorder)
    assert found.count == 3
    assert {run.info.status for run in found.children.values()} == {"FINISHED"}
    for run in found.children.values():
        assert found.points(run, "retain/fid") == [(40, 50.0), (120, 130.0)]


def test_an_event_twice_changes_nothing(plan):
    recorder = Recorder(plan)
    applied = []
    deliver = recorder._runs.apply
    recorder._queue._deliver = lambda event: (applied.append(event), deliver(event))
    run_trial(recorder, plan, plan.trials[1])
    assert recorder.settle()
    for event in applied:
        deliver(event)
    found = found_by(recorder)
    assert found.count == 2
    (run,) = found.children.values()
    assert found.points(run, "retain/fid") == [(40, 50.0), (120, 130.0)]


def test_what_is_never_taken_is_laid_aside_and_the_rest_goes_on(plan):
    recorder = Recorder(plan)
    gone, kept = plan.trials[1:3]
    recorder.started(gone)
    assert recorder.settle()
    recorder._runs._client.delete_run(recorder._runs._opened[gone.key])
    recorder.reported(gone, report(40))
    run_trial(recorder, plan, kept)
    recorder.close("finished")
    assert recorder.missed == {"metrics": 1}
    assert Found(recorder.tracking_uri).children[kept.key].info.status == "FINISHED"


def test_a_damaged_identity_is_refused_by_name(plan):
    (plan.folder / "record.json").write_text('{"sweep_')
    with pytest.raises(RecordError, match=r"record\.json is damaged or truncated"):
        Recorder(plan)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:9", "is the server running"),
        ("http://someone:secret@127.0.0.1:9", r"http://\*\*\*@127\.0\.0\.1:9"),
        ("nonsense://x", "nonsense://x cannot be used"),
        ("sqlite:////dev/null/mlflow.db", "is its folder there and writable"),
    ],
)
def test_an_unusable_address_is_refused_in_one_line_and_soon(plan, uri, said):
    start = time.monotonic()
    with pytest.raises(RecordError, match=said) as refusal:
        Recorder(plan, uri)
    assert time.monotonic() - start < 8
    assert "\n" not in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_a_server_that_never_answers_is_refused_soon(plan):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(RecordError, match="is the server running"):
            Recorder(plan, f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert time.monotonic() - start < 12


def test_a_database_whose_making_was_cut_short_is_made_anew(tmp_path, monkeypatch):
    plan = plan_of(tmp_path)

    def cut_short(uri):
        Path(uri.removeprefix("sqlite:///")).write_bytes(b"SQLite format 3 and no more")
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr("platform.tracking.client.open_client", cut_short)
        with pytest.raises(RecordError, match="killed"):
            Recorder(plan)
    assert not (tmp_path / "mlflow.db").exists()
    recorder = Recorder(plan)
    run_trial(recorder, plan, plan.trials[0])
    recorder.close("finished")
    assert not recorder.missed
    assert len(Found(recorder.tracking_uri, plan.study).children) == 1


def test_recording_prints_nothing(plan, tmp_path):
    code = (
        "from pathlib import Path; from tests.helpers.recorded import plan_of;"
        "from platform.tracking.recorder import Recorder;"
        f"plan = plan_of(Path({str(tmp_path / 'fresh')!r})); recorder = Recorder(plan);"
        "recorder.started(plan.trials[0]); recorder.close('interrupted')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture(scope="module")
def server(tmp_path_factory, database):
    """A real MLflow server on loopback."""
    with serving(tmp_path_factory.mktemp("server"), database) as server:
        yield server.uri


def test_a_server_gets_the_same_record(server, tmp_path):
    plan = plan_of(tmp_path, study="on a server")
    recorder = Recorder(plan, server)
    done, failed, under_way = plan.trials[:3]
    run_trial(recorder, plan, done)
    recorder.started(failed)
    recorder.failed(failed, "crash", "lost")
    recorder.started(under_way)
    assert recorder.settle()
    resumed = Recorder(plan, server)
    run_trial(resumed, plan, under_way)
    resumed.close("failed")
    assert not recorder.missed
    assert not resumed.missed
    assert not (tmp_path / "mlflow.db").exists()

    found = Found(server, "on a server")
    assert found.count == 4
    assert found.parents[0].info.status == "FAILED"
    statuses = [found.children[trial.key].info.status for trial in (done, failed, under_way)]
    assert statuses == ["FINISHED", "FAILED", "FINISHED"]
    run = found.children[done.key]
    assert found.points(run, "retain/fid") == [(40, 50.0), (120, 130.0)]
    assert found.files(run) == {"samples.png", "tsne.png", "config.json", "result.json", "files"}
    copied = found.client.download_artifacts(run.info.run_id, "samples.png", str(tmp_path))
    left = plan.folder / "trials" / done.name / "samples.png"
    assert Path(copied).read_bytes() == left.read_bytes()


@pytest.mark.parametrize(
    ("status", "final"),
    [(400, True), (404, True), (413, True), (408, False), (429, False), (503, False)],
)
def test_what_a_server_says_for_good_is_told_from_what_may_pass(status, final):
    import requests
    from mlflow.exceptions import RestException

    response = requests.Response()
    response.status_code = status
    assert is_final(requests.HTTPError("no", response=response)) == final
    assert not is_final(requests.ConnectionError("no"))
    assert is_final(RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}))
    assert not is_final(RestException({"error_code": "INTERNAL_ERROR", "message": "no"}))
    assert is_final(FileNotFoundError("no"))
    assert not is_final(OSError(28, "no"))
