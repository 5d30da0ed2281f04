"""Sweeps that are killed at a random moment and resumed, and sweeps that share a storage."""

from __future__ import annotations

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.reliability.kills import killed_and_resumed
from tests.sweeps import PAIR, run, sweep


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_sweep_goes_on(seed: int, tmp_path: Path) -> None:
    found = killed_and_resumed(tmp_path, seed, kills=1)
    assert found.kills == 1
    assert found.faults == 0, found


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_sweeps_at_once_share_a_storage_and_nothing_else(tmp_path: Path) -> None:
    names = ("left", "right")
    commands = [
        sweep(tmp_path, *PAIR, "seed=1", options=["--name", names[0]]),
        sweep(tmp_path, *PAIR, "seed=2", options=["--name", names[1]]),
    ]
    with ThreadPoolExecutor(2) as executor:
        ended = list(executor.map(run, commands))
    assert [each.status for each in ended] == [0, 0], ended
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        recorded = database.execute(
            "select name.value, key.value, runs.status from runs "
            "join tags name on name.run_uuid = runs.run_uuid and name.key = 'sweep' "
            "join tags key on key.run_uuid = runs.run_uuid and key.key = 'trial_key'"
        ).fetchall()
    for name in names:
        plan = json.loads((tmp_path / name / "plan.json").read_text())
        planned = sorted(trial["key"] for trial in plan["trials"])
        table = pq.read_table(tmp_path / name / "results.parquet")
        assert sorted(table["trial_key"].to_pylist()) == planned
        assert set(table["state"].to_pylist()) == {"finished"}
        mine = [(key, status) for sweep_name, key, status in recorded if sweep_name == name]
        assert sorted(mine) == [(key, "FINISHED") for key in planned]
