"""A sweep that is stopped says how to go on, and goes on with what is outstanding."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import signal
import subprocess
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from platform.sweep import main
from tests.helpers.sweeps import Ended, ledger_states, printed, run, stopped, sweep, times

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]

SETTINGS = ("method=original,ours", "search.trials=2")
TRIALS = {"original", "ours", "ours_proxy", "ours-s1", "ours-s2", "ours_proxy-s1", "ours_proxy-s2"}


@dataclasses.dataclass(frozen=True)
class Stop:
    """A session of a sweep that was stopped, and what it had left behind by then.

    Attributes:
        ended: the call.
        times: of the results, by trial.
        runs: MLflow's (name, status), one a run.
        rows: of `results.parquet`, by trial.
        ledger: states in it.
        left: processes that outlived it.
        refusals: of a second driver while it ran, each with its exit status.
    """

    ended: Ended
    times: dict[str, int]
    runs: list[tuple[str, str]]
    rows: dict[str, Any]
    ledger: set[str]
    left: set[str]
    refusals: list[tuple[int, str]]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stops") / "my runs"


@pytest.fixture(scope="module")
def interrupted(storage: Path) -> Stop:
    """Stopped by Ctrl-C after its first trial."""
    refusals: list[tuple[int, str]] = []

    def second(options: list[str]) -> None:
        told = io.StringIO()
        with contextlib.redirect_stderr(told):
            status = main(["--storage", str(storage), "--name", "held", *options])
        refusals.append((status, told.getvalue()))

    def see(process: subprocess.Popen[str], line: str) -> None:
        if "pretraining" in line and not refusals:
            second([])
            second(["--resume"])

    command = sweep(storage, *SETTINGS, options=["--name", "held"])
    ended = stopped(command, "[1/7] ", signal.SIGINT, see)
    return stop(storage, ended, refusals)


@pytest.fixture(scope="module")
def terminated(storage: Path, interrupted: Stop) -> Stop:
    """Resumed by the command that it printed, and stopped by SIGTERM two trials later."""
    count = sum(row["state"] == "finished" for row in interrupted.rows.values()) + 3
    return stop(storage, stopped(printed(interrupted.ended), f"[{count}/7] ", signal.SIGTERM), [])


@pytest.fixture(scope="module")
def finished(storage: Path, terminated: Stop) -> Stop:
    """Resumed again, to its end."""
    return stop(storage, run(printed(terminated.ended)), [])


def stop(storage: Path, ended: Ended, refusals: list[tuple[int, str]]) -> Stop:
    folder = storage / "held"
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    return Stop(
        ended=ended,
        times=times(folder),
        runs=recorded(storage),
        rows={row["name"]: row for row in rows},
        ledger=ledger_states(folder),
        left=ended.processes_left(),
        refusals=refusals,
    )


def recorded(storage: Path) -> list[tuple[str, str]]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{storage / 'mlflow.db'}")
    found = client.get_experiment_by_name("quickstart")
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    return sorted((run.info.run_name, run.info.status) for run in runs)


def test_ctrl_c_ends_in_130_and_says_how_to_go_on(interrupted: Stop, storage: Path) -> None:
    assert interrupted.ended.status == 130, interrupted.ended
    assert "Traceback" not in interrupted.ended.err
    left = sum(row["state"] != "finished" for row in interrupted.rows.values())
    assert f"Interrupted: {left} of 7 trials outstanding. To go on:" in interrupted.ended.out
    assert printed(interrupted.ended)[1:] == [
        *("-m", "platform.sweep", "--name", "held", "--resume", "--storage", str(storage))
    ]


def test_sigterm_ends_as_ctrl_c_does(terminated: Stop) -> None:
    assert terminated.ended.status == 130, terminated.ended
    assert "Traceback" not in terminated.ended.err
    assert printed(terminated.ended)


def test_a_stopped_sweep_still_shows_its_table(interrupted: Stop, terminated: Stop) -> None:
    for stopped_sweep in (interrupted, terminated):
        out = stopped_sweep.ended.out
        assert any(line.startswith("Original ") for line in out.splitlines())
        assert "trials did not finish (interrupted " in out


def test_what_had_ended_is_kept_and_no_more(interrupted: Stop, terminated: Stop) -> None:
    for held in (interrupted, terminated):
        assert 1 <= len(held.times) < 7
        states = {name: row["state"] for name, row in held.rows.items()}
        assert set(states) == TRIALS
        assert set(states.values()) == {"finished", "interrupted"}
        # a trial may leave its result while the sweep stops: the next session takes it in
        assert {name for name, state in states.items() if state == "finished"} <= set(held.times)
        assert held.ledger == {"COMPLETE"}


def test_nothing_stays_running_in_the_record(
    interrupted: Stop, terminated: Stop, finished: Stop
) -> None:
    for held in (interrupted, terminated, finished):
        names = [name for name, _ in held.runs]
        assert len(names) == len(set(names))
        assert "RUNNING" not in {status for _, status in held.runs}
    assert ("held", "KILLED") in interrupted.runs
    assert ("held", "KILLED") in terminated.runs
    assert finished.runs == sorted((name, "FINISHED") for name in (*TRIALS, "held"))


def test_no_process_outlives_a_sweep(interrupted: Stop, terminated: Stop, finished: Stop) -> None:
    for held in (interrupted, terminated, finished):
        assert len(held.ended.processes) > 2
        assert held.left == set()


def test_a_resumed_sweep_runs_what_is_outstanding_and_nothing_again(
    interrupted: Stop, terminated: Stop, finished: Stop
) -> None:
    assert finished.ended.status == 0, finished.ended
    assert f"{len(terminated.times)} of them done before" in finished.ended.out
    assert set(finished.times) == TRIALS
    for before, after in ((interrupted, terminated), (terminated, finished)):
        assert len(after.times) > len(before.times)
        assert before.times.items() <= after.times.items()
    assert {row["state"] for row in finished.rows.values()} == {"finished"}


def test_the_record_of_a_resumed_sweep_is_whole(storage: Path, finished: Stop) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{storage / 'mlflow.db'}")
    found = client.get_experiment_by_name("quickstart")
    assert found is not None
    for each in client.search_runs([found.experiment_id], "tags.kind != 'sweep'"):
        metrics = finished.rows[each.info.run_name]
        points = client.get_metric_history(each.info.run_id, "forget/fid")
        assert [point.step for point in points] == (
            [0] if each.info.run_name == "original" else [2, 4]
        )
        assert points[-1].value == metrics["forget/fid"]
        assert "result.json" in {file.path for file in client.list_artifacts(each.info.run_id)}


def test_a_second_driver_is_refused_while_the_first_runs(interrupted: Stop) -> None:
    (new, told), (resumed, told_too) = interrupted.refusals
    assert new == resumed == 2
    assert "--name held is in use" in told
    assert "sweep 'held' is being run by another process" in told_too


def test_a_finished_sweep_that_is_resumed_only_shows_its_table(
    storage: Path, interrupted: Stop, finished: Stop
) -> None:
    again = run(printed(interrupted.ended))
    assert again.status == 0, again
    assert "7 of them done before" in again.out
    assert any(line.startswith("Original ") for line in again.out.splitlines())
    assert times(storage / "held") == finished.times
    assert recorded(storage) == finished.runs
