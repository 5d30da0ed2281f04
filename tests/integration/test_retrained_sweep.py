"""A sweep with a retrained model and further test tasks: shared work, trials, what is reused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.helpers.sweeps import Ended, run, sweep

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1200)]

SETTINGS = (
    *("method=original,retrained,ours", "retain_source=real", "search.trials=0"),
    *("pretrain.threads=1", "more_tests=centre:0.25"),
)
NAMES = {"original", "retrained", "ours"}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("retrained") / "runs"


@pytest.fixture(scope="module")
def ended(storage: Path) -> Ended:
    return run(sweep(storage, *SETTINGS, options=["--name", "three"]))


def rows_of(storage: Path, name: str) -> dict[str, dict[str, Any]]:
    table = pq.read_table(storage / name / "results.parquet")
    return {row["name"]: row for row in table.to_pylist()}


def test_it_is_trained_once_before_the_trials(ended: Ended, storage: Path) -> None:
    assert ended.status == 0, ended.err
    lines = ended.out.splitlines()
    trained = lines.index(
        next(x for x in lines if x.startswith("pretraining mae_tiny without the forget classes 10"))
    )
    assert trained < lines.index(next(line for line in lines if line.startswith("[1/3] ")))
    [folder] = (storage / "cache").glob("retrained-*/")
    own = storage / "three/trials/retrained/weights.safetensors"
    assert own.read_bytes() == (folder / "weights.safetensors").read_bytes()


def test_every_trial_is_measured_on_both_tasks(ended: Ended, storage: Path) -> None:
    rows = rows_of(storage, "three")
    assert set(rows) == NAMES
    for name, row in rows.items():
        result = json.loads((storage / f"three/trials/{name}/result.json").read_text())
        for task in ("", "centre_0.25/"):
            for figure in ("retain/fid", "val/forget/clip"):
                assert row[task + figure] == result["metrics"][task + figure] > 0.0
    assert rows["retrained"]["val/objective"] != 0.0


def test_the_table_names_it_last_and_without_a_search(ended: Ended) -> None:
    [line] = [line for line in ended.out.splitlines() if line.startswith("Retrained ")]
    assert line.split()[-1] == "trials/retrained/samples.png"
    assert len(line.split()) == 4


def test_another_sweep_takes_its_trials_over(ended: Ended, storage: Path) -> None:
    again = run(sweep(storage, *SETTINGS, options=["--name", "again"]))
    assert again.status == 0, again.err
    assert rows_of(storage, "again").keys() == NAMES
    for name in NAMES:
        first, second = (
            (storage / f"{each}/trials/{name}/result.json").read_bytes()
            for each in ("three", "again")
        )
        assert first == second  # its timings too: it was not run again
