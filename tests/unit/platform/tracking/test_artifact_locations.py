"""The tables of MLflow's database that the adapter writes to, and what it writes there."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from platform.tracking.client import DATABASE, LOCATIONS, relocate_artifacts
from trainables.utils.object_store import Mirror

# columns that are named alike and hold no address of artifacts
OTHERS = {("mcp_server_versions", "source"), ("evaluation_dataset_records", "source")}


def test_mlflow_keeps_addresses_of_artifacts_where_the_adapter_changes_them() -> None:
    from mlflow.store.db.base_sql_model import Base
    from mlflow.store.model_registry.dbmodels import models as registry
    from mlflow.store.tracking.dbmodels import models as tracking

    assert registry.SqlModelVersion.metadata is tracking.SqlRun.metadata is Base.metadata
    named = ("artifact_location", "artifact_uri", "storage_location", "source")
    found = {
        (table.name, column.name)
        for table in Base.metadata.tables.values()
        for column in table.columns
        if column.name in named
    }
    assert found - OTHERS == set(LOCATIONS), (
        "MLflow keeps the addresses of artifacts in other columns than before: mend LOCATIONS of "
        "platform/tracking/artifact_locations.py, or a sweep that goes on on another machine "
        "loses the files of its record"
    )


@pytest.mark.parametrize("marked", [True, False])
def test_addresses_of_another_machine_are_moved_where_the_storage_has_an_address(
    tmp_path: Path, marked: bool
) -> None:
    storage = tmp_path / "here"
    folder = storage / "a"
    folder.mkdir(parents=True)
    if marked:
        Mirror(storage, (tmp_path / "address").as_uri()).mark()
    before = "file:///elsewhere/a/mlartifacts"
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as database, database:
        for table in dict.fromkeys(table for table, _ in LOCATIONS):
            columns = [column for each, column in LOCATIONS if each == table]
            database.execute(f"create table {table} ({', '.join(columns)})")
            for address in (f"{before}/1" if table != "experiments" else before, "s3://kept"):
                values = ", ".join("?" for _ in columns)
                database.execute(f"insert into {table} values ({values})", [address] * len(columns))
    relocate_artifacts(folder)
    now = (folder / "mlartifacts").as_uri() if marked else before
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as database:
        for table, column in LOCATIONS:
            found = {at for (at,) in database.execute(f"select {column} from {table}")}
            assert found == {now if table == "experiments" else f"{now}/1", "s3://kept"}
