"""Reads a recorded sweep from its folder.

The folder holds `plan.json`, `results.parquet` (a row a trial), `environment.json` and, below
`trials/NAME/`, the files of each trial. Every fault of a file ends in one line that names it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from platform.storage.results import COLUMNS, LATER_COLUMNS
from platform.storage.trial_files import lost_files
from trainables.config.names import RENAMED_FIELDS
from trainables.utils.errors import UserError
from trainables.utils.hashing import SEAL, unseal
from trainables.utils.text import close_names, first_few, one_line


class RecordError(UserError):
    """A sweep, or a file of one, that is missing, unfinished or damaged."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A recorded sweep.

    Attributes:
        name: the sweep's name.
        folder: the sweep's folder.
        plan: `plan.json` as plain values.
        results: `results.parquet`: a row a trial, `COLUMNS` and a column a metric.
        environment: `environment.json` as plain values; empty where there is none.
    """

    name: str
    folder: Path
    plan: dict[str, Any]
    results: pa.Table
    environment: dict[str, Any]

    def rows(self) -> list[dict[str, Any]]:
        """Returns the trials in the order of the plan; a metric that a trial lacks is None."""
        return list(self.results.to_pylist())

    def trial_folder(self, row: Mapping[str, Any]) -> Path:
        """Returns the folder of a trial's files."""
        return self.folder / "trials" / str(row["name"])

    def lost_files(self) -> dict[str, list[str]]:
        """Returns what has become of files that finished trials no longer have, by their names.

        Sizes are compared, not digests; of trials that earlier versions ran nothing is missed.
        """
        listed = {row["name"]: row for row in self.rows() if row["state"] == "finished"}
        looked = {
            name: lost_files(self.trial_folder(row), {"files": json.loads(row["files"])})
            for name, row in listed.items()
            if row["files"]
        }
        return {name: faults for name, faults in looked.items() if faults}

    def trial_table(self, row: Mapping[str, Any], name: str) -> pa.Table:
        """Reads a Parquet file that a trial left.

        Raises:
            RecordError: it is missing or damaged.
        """
        path = self.trial_folder(row) / name
        if not path.is_file():
            raise RecordError(f"trial {row['name']} left no {name}: {path} is missing")
        return read_table(path)


def read_sweep(storage: Path, name: str) -> Sweep:
    """Reads a recorded sweep.

    Args:
        storage: the folder of sweeps, such as `runs`.
        name: the sweep's name.

    Raises:
        RecordError: no such sweep (the close names are listed), no results yet, or a damaged file.
    """
    folder = storage / name
    plan_path, results_path = folder / "plan.json", folder / "results.parquet"
    if not plan_path.is_file():
        raise RecordError(_no_sweep(storage, name))
    if not results_path.is_file():
        raise RecordError(
            f"sweep {name!r} has no results yet: {results_path} is written when it ends or stops; "
            f"python -m platform.sweep --name {name} --storage {storage} --resume goes on with it"
        )
    table = _under_new_names(read_table(results_path))
    missing = sorted(set(COLUMNS) - set(LATER_COLUMNS) - set(table.column_names))
    if missing:
        raise RecordError(f"{results_path} is no table of results: it lacks {', '.join(missing)}")
    for column, kind in LATER_COLUMNS.items():
        if column not in table.column_names:
            table = table.append_column(column, pa.nulls(len(table), kind))
    described = folder / "environment.json"
    return Sweep(
        name=name,
        folder=folder,
        plan=_read_plan(plan_path),
        results=table,
        environment=read_json(described) if described.is_file() else {},
    )


def _read_plan(path: Path) -> dict[str, Any]:
    """Reads a plan of any version; the earliest ones are not sealed."""
    values = read_json(path)
    try:
        return dict(_renamed(unseal(values) if SEAL in values else values))
    except ValueError as error:
        raise RecordError(f"{path} is damaged: {error}") from None


def _under_new_names(table: pa.Table) -> pa.Table:
    """Returns results that an earlier version wrote with the fields' names of this one."""
    if not RENAMED_FIELDS.keys() & set(table.column_names):
        return table
    table = table.rename_columns([RENAMED_FIELDS.get(name, name) for name in table.column_names])
    for column in {"config", "params"} & set(table.column_names):
        texts = [
            text and json.dumps(_renamed(json.loads(text))) for text in table[column].to_pylist()
        ]
        index = table.column_names.index(column)
        table = table.set_column(index, column, pa.array(texts, pa.string()))
    return table


def _renamed(values: Any) -> Any:
    """Returns plain values with every renamed field, at any depth, under its new name."""
    if isinstance(values, Mapping):
        return {RENAMED_FIELDS.get(name, name): _renamed(each) for name, each in values.items()}
    return [_renamed(each) for each in values] if isinstance(values, list) else values


def _no_sweep(storage: Path, name: str) -> str:
    known = sorted(path.parent.name for path in storage.glob("*/plan.json"))
    if not known:
        return f"no sweep {name!r}: {storage} holds no sweeps; --storage names their folder"
    return (
        f"no sweep {name!r} in {storage}{close_names(name, known)}; it holds {first_few(known, 8)}"
    )


def read_table(path: Path) -> pa.Table:
    """Reads a Parquet file.

    Raises:
        RecordError: it is damaged or truncated.
    """
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        table.validate(full=True)  # reading alone lets broken texts through
        return table
    except (pa.ArrowException, OSError) as error:
        raise RecordError(f"{path} is damaged or truncated: {one_line(error)}") from error


def read_json(path: Path) -> dict[str, Any]:
    """Reads an object from a JSON file.

    Raises:
        RecordError: it is damaged or truncated.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise RecordError(f"{path} is damaged or truncated: {one_line(error)}") from error
    if not isinstance(values, dict):
        raise RecordError(f"{path} is damaged: it holds no object")
    return values
