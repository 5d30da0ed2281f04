"""Keeps the Optuna studies of a ledger, one a group, in one SQLite file.

They are made and read all at once, since a sweep may have thousands of groups and Optuna takes
several transactions or queries for each of its own calls.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

# each gives all studies what the first one has
_COPIES = (
    "insert into study_directions (direction, study_id, objective) "
    "select of.direction, to_.study_id, of.objective from study_directions of, studies to_ "
    "where of.study_id = :first and to_.study_id != :first",
    "insert into study_user_attributes (study_id, key, value_json) "
    "select to_.study_id, of.key, of.value_json from study_user_attributes of, studies to_ "
    "where of.study_id = :first and to_.study_id != :first",
)


class Studies:
    """The studies in a file, as they were when it was opened; each is loaded when it is asked for.

    Args:
        path: of the file.

    Raises:
        Exception: of Optuna, SQLAlchemy or `json`, where the file is no such storage.
    """

    def __init__(self, path: Path) -> None:
        self._storage = _storage(path)
        self._found = {study.study_name: study for study in self._storage.get_all_studies()}
        self._loaded: dict[str, optuna.Study] = {}

    @staticmethod
    def create(
        path: Path,
        names: Sequence[str],
        directions: Sequence[StudyDirection],
        attributes: Mapping[str, Any],
    ) -> None:
        """Makes a file of studies that differ by their names alone.

        Args:
            path: of the file; there is none.
            names: of the studies, one or more, each another.
            directions: of the objectives.
            attributes: what they are given as user attributes.
        """
        storage = _storage(path, new=True)
        study = optuna.create_study(storage=storage, study_name=names[0], directions=directions)
        for name, value in attributes.items():
            study.set_user_attr(name, value)
        first = storage.get_study_id_from_name(names[0])
        storage.remove_session()
        storage.engine.dispose()
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            others = ((name,) for name in names[1:])
            database.executemany("insert into studies (study_name) values (?)", others)
            for copy in _COPIES:
                database.execute(copy, {"first": first})

    def __getitem__(self, name: str) -> optuna.Study:
        """Returns a study, to write to.

        Raises:
            KeyError: there is none of this name.
        """
        if name not in self._loaded:
            self._loaded[name] = optuna.load_study(study_name=name, storage=self._storage)
        return self._loaded[name]

    def attributes(self, name: str) -> Mapping[str, Any]:
        """Returns the user attributes that a study had when the file was opened.

        Raises:
            KeyError: there is no study of this name.
        """
        return self._found[name].user_attrs

    def trials(self) -> list[FrozenTrial]:
        """Returns the trials of all studies, study by study."""
        with self._storage.engine.connect() as database:
            rows = database.exec_driver_sql("select distinct study_id from trials order by 1").all()
        return [
            trial
            for (study,) in rows
            for trial in self._storage.get_all_trials(study, deepcopy=False)
        ]


def _storage(path: Path, *, new: bool = False) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # connected by path: in an address, "?", "%" and braces of a folder's name mean something else
    connect = functools.partial(sqlite3.connect, path.resolve())
    engine: dict[str, Any] = {"creator": connect}
    # a table that a damaged ledger lacks is not made anew: it would read as nothing done
    return RDBStorage("sqlite:///ledger.db", engine_kwargs=engine, skip_table_creation=not new)
