"""Files of finished trials that go lost: a resumed sweep says so, and runs them again if asked."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from platform.plan.serialization import read_plan
from platform.search.ledger import Ledger
from platform.search.outstanding import find_lost
from platform.storage.sweep_folder import read_sweep
from tests.helpers.sweeps import PAIR, resumed, run, sweep, times

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]


def figures(storage: Path) -> dict[str, float]:
    """The forget distance of each trial of the sweep."""
    return {row["name"]: row["forget/fid"] for row in read_sweep(storage, "a").rows()}


def runs(storage: Path) -> list[tuple[str, str]]:
    """MLflow's (name, status), one a run."""
    with sqlite3.connect(storage / "mlflow.db") as database:
        return sorted(database.execute("select name, status from runs"))


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_lost_files_are_told_of_and_made_anew_when_asked(tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    settings = ("method=original,ours,max_loss", *PAIR[1:])
    assert run(sweep(storage, *settings, options=["--name", "a"])).status == 0
    before, recorded, written = figures(storage), runs(storage), times(storage / "a")
    plan = read_plan(storage / "a")
    trials = storage / "a" / "trials"
    shutil.rmtree(trials / "ours")
    alter(trials / "max_loss" / "weights.safetensors")

    told = run(resumed(storage, "a"))
    assert told.status == 0
    assert "1 finished trial: ours (its folder is gone)" in told.out
    assert figures(storage) == before

    again = run([*resumed(storage, "a")[:-1], "--repair", "--no-reuse"])
    assert again.status == 0, again
    assert "2 finished trials: " in again.out
    assert figures(storage) == before
    after = times(storage / "a")
    assert {name for name in written if written[name] != after[name]} == {"ours", "max_loss"}
    assert runs(storage) == recorded
    assert find_lost(plan, Ledger.open(plan).entries(), read=True) == []
