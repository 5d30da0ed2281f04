"""The smallest whole sweep: from the command to the table, the files and the record."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.helpers.sweeps import PAIR, Ended, ledger_states, run, sweep

pytestmark = pytest.mark.timeout(600)  # seconds on a machine of its own, minutes on a busy one


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quick") / "runs"


@pytest.fixture(scope="module")
def ended(storage: Path) -> Ended:
    return run(sweep(storage, *PAIR, options=["--name", "pair"]))


def test_a_sweep_of_two_methods_ends_well(ended: Ended) -> None:
    assert ended.status == 0, ended.err
    assert ended.err == ""
    assert "2 trials, " in ended.out
    assert "[2/2] " in ended.out


def test_the_table_shows_both(ended: Ended) -> None:
    lines = ended.out.splitlines()
    assert any(line.startswith("Original ") for line in lines)
    assert any(line.startswith("Ours") and "trials/ours/" in line for line in lines)
    assert "-m analysis.tables pair --storage " in ended.out


def test_every_result_is_in_the_tables_of_the_sweep(ended: Ended, storage: Path) -> None:
    rows = {row["name"]: row for row in pq.read_table(storage / "pair/results.parquet").to_pylist()}
    assert set(rows) == {"original", "ours"}
    for name, row in rows.items():
        result = json.loads((storage / f"pair/trials/{name}/result.json").read_text())
        assert row["state"] == "finished"
        assert {n: row[n] for n in result["metrics"] if "/" in n} == {
            n: value for n, value in result["metrics"].items() if "/" in n
        }
    assert ledger_states(storage / "pair") == {"COMPLETE"}


def test_no_process_is_left(ended: Ended) -> None:
    assert len(ended.processes) > 2
    assert ended.processes_left() == set()
