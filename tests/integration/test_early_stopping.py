"""Search trials that lie behind those of their variant are stopped, by Ray's ASHA."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.helpers.sweeps import run, sweep
from trainables.config.names import SNAPSHOT

SETTINGS = ("method=max_loss,ours", "retain_source=real", "search.trials=6", "search.asha=true")
STATES = ("finished", "pruned", "failed", "interrupted")
STEPS = ("unlearn.steps=8", "unlearn.eval_every=2")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_lies_behind_is_stopped_and_what_is_left_runs_whole(tmp_path: Path) -> None:
    command = sweep(tmp_path, *SETTINGS, *STEPS, options=["--name", "a", "--max-concurrent", "1"])
    ended = run(command)
    assert ended.status == 0, ended.out + ended.err
    rows = pq.read_table(tmp_path / "a" / "results.parquet").to_pylist()
    by_state = {state: {r["name"] for r in rows if r["state"] == state} for state in STATES}
    assert len(rows) == 14
    assert len(by_state["pruned"]) + len(by_state["finished"]) == 14
    # the second to come of two is stopped where it lies behind, so that some always are
    assert by_state["pruned"]
    assert all(row["kind"] == "search" for row in rows if row["state"] == "pruned")
    for name in by_state["pruned"]:
        assert f"{name}: stopped at step" in ended.out
        folder = tmp_path / "a" / "trials" / name
        assert not (folder / SNAPSHOT).exists()
        assert not (folder / "result.json").exists()
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        runs = database.execute(
            "select runs.name, runs.status, tags.value from runs left join tags on "
            "tags.run_uuid = runs.run_uuid and tags.key = 'pruned'"
        ).fetchall()
    stopped = {name: told for name, _, told in runs if told}
    assert set(stopped) == by_state["pruned"]
    assert all(told.startswith("at step ") for told in stopped.values())
    assert {status for _, status, _ in runs} == {"FINISHED", "KILLED"}
    again = run([*command[:3], "--storage", str(tmp_path), "--name", "a", "--resume"])
    assert again.status == 0, again.out + again.err
    assert "14 trials, 14 of them done before" in again.out
