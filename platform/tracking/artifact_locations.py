"""The one adapter to the tables of MLflow's database: moves the addresses of artifacts.

MLflow keeps the folder of a run's artifacts as an absolute address, and has neither a command nor
a function that changes it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from trainables.utils.object_store import Mirror

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
# every column of MLflow 3 that holds an address of artifacts, by its table
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def relocate_artifacts(folder: Path) -> None:
    """Makes a record that was pulled from another machine name its artifacts in this folder.

    The record of a plain storage folder is left alone: another sweep may be writing to it, and
    reach it by another path.

    Args:
        folder: the folder of `mlflow.db` and `mlartifacts/`.

    Raises:
        sqlite3.Error: the file is no database of MLflow 3.
    """
    if Mirror.of(folder.parent) is None:
        return
    now, ending = f"{folder.as_uri()}/{ARTIFACTS}", f"/{ARTIFACTS}"
    with (
        contextlib.closing(sqlite3.connect(folder / DATABASE, timeout=60)) as database,
        database,
    ):
        found = database.execute("select distinct artifact_location from experiments").fetchall()
        moved = [at for (at,) in found if at and at.startswith("file:") and at.endswith(ending)]
        for before in (at for at in moved if at != now):
            for table, column in LOCATIONS:
                database.execute(
                    f"update {table} set {column} = ? || substr({column}, ?) "
                    f"where substr({column}, 1, ?) = ?",
                    (now, len(before) + 1, len(before), before),
                )
