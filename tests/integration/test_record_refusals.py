"""What a real MLflow cannot take holds up nothing else, and is recorded once MLflow can take it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType

from platform.plan.plan import Plan
from platform.storage.results import write_results
from platform.tracking import event_queue
from platform.tracking.client import make_database
from platform.tracking.recorder import Recorder
from tests.helpers.mlflow_server import Server, serving
from tests.helpers.recorded import leave_files, plan_of, result_of

FILES = {"samples.png", "tsne.png", "config.json", "result.json", "files"}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is tried again almost at once."""
    monkeypatch.setattr(event_queue, "_FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(event_queue, "_LONGEST_WAIT_S", 0.02)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making one takes seconds, copying it none."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    make_database(path)
    return path


@pytest.fixture
def plan(tmp_path: Path, database: Path) -> Plan:
    """Three trials that have left their files, and the sweep's table."""
    shutil.copy(database, tmp_path / "mlflow.db")
    plan = plan_of(tmp_path)
    for trial in plan.trials[:3]:
        leave_files(plan.folder / "trials" / trial.name, trial)
    write_results(plan.folder, [])
    return plan


def run_trials(recorder: Recorder, plan: Plan) -> None:
    for trial in plan.trials[:3]:
        recorder.started(trial)
        recorder.reported(trial, {"step": 40, "retain/fid": 3.0})
        recorder.finished(trial, result_of(trial))


def synced(plan: Plan, uri: str | None = None) -> int:
    """Records what is not whole, as `--sync` does; returns how many trials that were."""
    recorder = Recorder(plan, uri)
    lacking = [t for t in plan.trials[:3] if t.key not in recorder.ended_before("finished")]
    for trial in lacking:
        recorder.finished(trial, result_of(trial))
    recorder.close("finished")
    assert not recorder.missed
    return len(lacking)


class Record:
    """What MLflow holds of the sweep."""

    def __init__(self, uri: str) -> None:
        self.client = MlflowClient(uri)

    @property
    def experiment(self) -> Experiment:
        found = self.client.get_experiment_by_name("quickstart")
        assert found is not None
        return found

    def runs(self) -> list[Run]:
        """The sweep's, then those of its trials in their order; deleted ones too."""
        found = self.client.search_runs([self.experiment.experiment_id], "", ViewType.ALL)
        return sorted(
            found, key=lambda run: (bool(run.data.tags.get("group")), run.info.start_time)
        )

    def states(self) -> list[str]:
        return [f"{run.info.lifecycle_stage} {run.info.status}" for run in self.runs()]

    def points(self, run: Run) -> list[tuple[int, float]]:
        history = self.client.get_metric_history(run.info.run_id, "loss/total")
        return [(point.step, point.value) for point in history]

    def files(self, run: Run) -> set[str]:
        return {file.path for file in self.client.list_artifacts(run.info.run_id)}


WHOLE = ["active FINISHED"] * 4


def check_whole(record: Record) -> None:
    assert record.states() == WHOLE
    sweep, *trials = record.runs()
    assert "results.parquet" in record.files(sweep)
    for run in trials:
        steps = [step for step, _ in record.points(run)]
        assert steps == sorted(set(steps))
        assert run.data.metrics.keys() >= {"retain/fid", "val/objective", "time/total_s"}
        assert run.data.tags["data_hash"] == "d0d0"
        assert record.files(run) == FILES


def check_artifacts_come_later(
    plan: Plan, uri: str | None, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A sweep into an MLflow whose folder of artifacts is a file, which then is removed."""
    place.write_text("not a folder")
    recorder = Recorder(plan, uri)
    with caplog.at_level(logging.WARNING):
        run_trials(recorder, plan)
        recorder.close("finished")
    assert recorder.missed == {"configuration": 3, "files": 3, "sweep's files": 1}
    assert [record.message.partition(" (")[0] for record in caplog.records] == [
        f"MLflow at {recorder.shown_uri} does not take the files of trials"
    ]
    record = Record(recorder.tracking_uri)
    assert record.states() == WHOLE
    ended = [run.info.end_time for run in record.runs()[1:]]
    place.unlink()
    assert synced(plan, uri) == 3
    check_whole(record)
    assert [run.info.end_time for run in record.runs()[1:]] == ended
    assert synced(plan, uri) == 0


def test_artifacts_that_cannot_be_stored_hold_up_no_metric_and_no_status(
    plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    check_artifacts_come_later(plan, None, plan.storage / "mlartifacts", caplog)


@pytest.fixture
def server(tmp_path: Path, database: Path) -> Iterator[Server]:
    with serving(tmp_path / "server", database) as server:
        yield server


@pytest.mark.slow
def test_a_server_that_cannot_store_artifacts_gets_the_rest(
    server: Server, plan: Plan, caplog: pytest.LogCaptureFixture
) -> None:
    check_artifacts_come_later(plan, server.uri, server.folder / "artifacts", caplog)


def test_artifacts_that_can_be_stored_again_by_the_end_are_not_missed(plan: Plan) -> None:
    place = plan.storage / "mlartifacts"
    place.write_text("not a folder")
    recorder = Recorder(plan)
    run_trials(recorder, plan)
    assert not recorder.settle()
    place.unlink()
    recorder.close("finished")
    assert not recorder.missed
    check_whole(Record(recorder.tracking_uri))
    assert synced(plan) == 0


def test_metrics_that_can_be_taken_again_by_the_end_are_not_missed(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(plan)
    client = recorder._runs._client
    log_batch = client.log_batch

    def not_now(run_id: str, **entries: object) -> None:
        if "metrics" in entries:
            raise OSError("not now")
        log_batch(run_id, **entries)

    with monkeypatch.context() as patched:
        patched.setattr(client, "log_batch", not_now)
        run_trials(recorder, plan)
        assert not recorder.settle()
    recorder.close("finished")
    assert not recorder.missed
    check_whole(Record(recorder.tracking_uri))
    assert synced(plan) == 0


def test_a_metric_that_is_refused_costs_no_other(plan: Plan) -> None:
    recorder = Recorder(plan)
    trial = plan.trials[0]
    recorder.started(trial)
    numbers = {f"retain/m{number}": float(number) for number in range(20)}
    recorder.reported(trial, {"step": 1, **numbers, "retain/50%": 1.0, "loss/nan": float("nan")})
    recorder.finished(trial, result_of(trial))
    recorder.close("finished")
    assert recorder.missed == {"metrics": 1}
    assert "retain/50%" in recorder.fault
    record = Record(recorder.tracking_uri)
    run = record.runs()[1]
    assert run.info.status == "FINISHED"
    assert run.data.metrics.keys() >= {*numbers, "loss/nan", "retain/fid", "val/objective"}
    assert record.files(run) == FILES
    assert Recorder(plan).ended_before("finished") == set()


@pytest.mark.parametrize("deleted", ["experiment", "sweep", "trial"])
def test_what_is_deleted_while_the_sweep_runs_is_brought_back_whole(
    plan: Plan, deleted: str
) -> None:
    recorder = Recorder(plan)
    recorder.started(plan.trials[0])
    assert recorder.settle()
    record = Record(recorder.tracking_uri)
    sweep, trial = record.runs()
    if deleted == "experiment":
        record.client.delete_experiment(record.experiment.experiment_id)
    else:
        record.client.delete_run((sweep if deleted == "sweep" else trial).info.run_id)
    run_trials(recorder, plan)
    recorder.close("finished")
    assert recorder.missed
    synced(plan)
    check_whole(record)
    assert [run.info.run_id for run in record.runs()[:2]] == [sweep.info.run_id, trial.info.run_id]


def test_a_start_that_comes_late_does_not_open_a_run_that_has_ended(plan: Plan) -> None:
    recorder = Recorder(plan)
    trial = plan.trials[0]
    start = {"event": "start", "time": 1, "trial": trial}
    run_trials(recorder, plan)
    assert recorder.settle()
    recorder._runs.apply(start)
    assert Record(recorder.tracking_uri).states()[1] == "active FINISHED"
