"""The measurements of reliability find what is wrong with a sweep and its record."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.reliability import whole
from tests.reliability.overhead import driven, plan_of

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with a sweep `a` of three trials that did nothing."""
    storage = tmp_path_factory.mktemp("swept")
    driven(plan_of(storage, 3))
    with contextlib.closing(sqlite3.connect(storage / "mlflow.db")) as record, record:
        record.execute("update runs set status = 'FINISHED'")
    return storage


@pytest.fixture
def storage(swept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(swept, tmp_path / "runs"))


def change(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        assert database.execute(statement).rowcount > 0


def test_a_whole_sweep_has_no_faults(storage: Path) -> None:
    assert whole.faults(storage, "a") == []
    assert whole.states(storage / "mlflow.db") == {"FINISHED": 4}


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("delete from metrics where key = 'retain/fid' and step = 1", "point retain/fid at 1"),
        ("update metrics set value = 0 where key = 'forget/fid'", "point forget/fid at 2"),
        ("update runs set status = 'RUNNING' where name = 'ours'", "record: ours is RUNNING"),
        ("update runs set lifecycle_stage = 'deleted' where name = 'ours'", " is missing"),
        ("update tags set value = 'b' where key = 'sweep'", "record: a run of b"),
        ("update tags set value = '0' where key = 'sweep_id'", "record: 0 runs of the sweep"),
        (
            "insert into metrics (run_uuid, key, step, value, timestamp, is_nan) "
            "select run_uuid, key, step, value, timestamp + 1, is_nan from metrics",
            "point forget/fid at 1 twice",
        ),
        (
            "update tags set value = (select value from tags where key = 'trial_key' limit 1) "
            "where key = 'trial_key'",
            " is too much",
        ),
    ],
)
def test_what_is_wrong_with_the_record_is_found(storage: Path, statement: str, fault: str) -> None:
    change(storage / "mlflow.db", statement)
    assert any(fault in each for each in whole.faults(storage, "a"))


def test_a_trial_that_the_ledger_lacks_is_found(storage: Path) -> None:
    change(storage / "a" / "ledger.db", "delete from trials where trial_id = 1")
    assert any(each.startswith("ledger: ") for each in whole.faults(storage, "a"))


def test_files_that_the_record_lacks_are_found(storage: Path) -> None:
    (storage / "a" / "trials" / "ours" / "samples.png").write_bytes(b"another")
    assert whole.faults(storage, "a") == ["ours: artifact samples.png"]
    (storage / "a" / "trials" / "ours" / "result.json").unlink()
    with pytest.raises(FileNotFoundError):
        whole.faults(storage, "a")


@pytest.mark.parametrize("name", ["results.parquet", "plan.json", "ledger.db"])
def test_broken_files_are_found(storage: Path, name: str) -> None:
    path = storage / "a" / name
    before = whole.broken_files(storage)  # the pictures of its trials are noise
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (found,) = set(whole.broken_files(storage)) - set(before)
    assert found.startswith(f"a/{name}: ")
