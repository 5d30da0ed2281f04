"""Whether a sweep that is over has all that it should, and nothing of another's."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pyarrow.parquet as pq
import safetensors

from trainables.utils.hashing import read_sealed


def faults(storage: Path, name: str, database: Path | None = None) -> list[str]:
    """What a sweep lacks or has twice, a line each; empty where it is whole and finished.

    Args:
        storage: that it lies in.
        name: its own.
        database: MLflow's; by default the storage's.
    """
    folder = storage / name
    planned = {each["key"]: each["name"] for each in read_sealed(folder / "plan.json")["trials"]}
    return [
        *_unequal("ledger", ledger_keys(folder), planned),
        *_unequal("results", _finished_rows(folder), planned),
        *_unequal("folders", _results(folder).values(), planned),
        *_faults_of_record(folder, planned, database or storage / "mlflow.db"),
    ]


def ledger_keys(folder: Path) -> list[str]:
    """Keys of the finished trials of a sweep's ledger."""
    with reading(folder / "ledger.db") as database:
        rows = database.execute(
            "select value_json from trial_user_attributes a join trials t "
            "on t.trial_id = a.trial_id where a.key = 'key' and t.state = 'COMPLETE'"
        ).fetchall()
    return [json.loads(text) for (text,) in rows]


def states(database: Path) -> Counter[str]:
    """How many runs of an MLflow are in each state."""
    with reading(database) as record:
        rows = record.execute("select status from runs where lifecycle_stage = 'active'")
        return Counter(state for (state,) in rows.fetchall())


def broken_files(storage: Path) -> list[str]:
    """The JSON, Parquet, safetensors and SQLite files of a storage that cannot be read whole."""
    broken = []
    for path in sorted(storage.rglob("*")):
        if path.is_file():
            try:
                _open(path)
            except Exception as error:
                broken.append(f"{path.relative_to(storage)}: {type(error).__name__}: {error}")
    return broken


def _open(path: Path) -> None:
    """Reads all of a file of a kind that is known."""
    match path.suffix:
        case ".json":
            json.loads(path.read_text())
        case ".parquet":
            pq.read_table(path, page_checksum_verification=True).validate(full=True)
        case ".safetensors":
            with safetensors.safe_open(path, framework="np") as file:
                for name in file.keys():  # noqa: SIM118
                    file.get_tensor(name)
        case ".db":
            with reading(path) as database:
                (told,) = database.execute("pragma integrity_check").fetchone()
            if told != "ok":
                raise ValueError(told)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A SQLite file that is only read, and let go of at the end."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        yield database


def _unequal(where: str, found: Iterable[str], planned: Iterable[str]) -> list[str]:
    counted, wanted = Counter(list(found)), Counter(list(planned))
    lacking = [f"{where}: {each} is missing" for each in (wanted - counted).elements()]
    return lacking + [f"{where}: {each} is too much" for each in (counted - wanted).elements()]


def _finished_rows(folder: Path) -> list[str]:
    rows = pq.read_table(folder / "results.parquet").to_pylist()
    return [row["trial_key"] for row in rows if row["state"] == "finished"]


def _results(folder: Path) -> dict[str, str]:
    """The key that each trial's folder has a result of, by the trial's name."""
    paths = folder.glob("trials/*/result.json")
    return {path.parent.name: read_sealed(path)["trial_key"] for path in paths}


def _faults_of_record(folder: Path, planned: dict[str, str], database: Path) -> list[str]:
    sweep_id = read_sealed(folder / "record.json")["sweep_id"]
    with reading(database) as record:
        parents = _runs(record, "sweep_id", sweep_id)
        wrong = [] if len(parents) == 1 else [f"record: {len(parents)} runs of the sweep"]
        children = [run for each in parents for run in _runs(record, "mlflow.parentRunId", each[0])]
        wrong += [f"record: {each[3]} is {each[1]}" for each in children if each[1] != "FINISHED"]
        keys = {run: _tag(record, run, "trial_key") for run, *_ in children}
        names = {_tag(record, run, "sweep") for run, *_ in (*parents, *children)}
        wrong += [f"record: a run of {each}" for each in names - {folder.name}]
        wrong += _unequal("record", keys.values(), planned)
        for run, _, uri, _ in children:
            if keys[run] in planned:
                trial = folder / "trials" / planned[keys[run]]
                wrong += _faults_of_points(record, run, trial)
                wrong += _faults_of_files(_artifacts(uri, database), trial)
    return wrong


def _runs(record: sqlite3.Connection, tag: str, value: str) -> list[Any]:
    """(identity, status, artifacts, name) of the runs with a tag."""
    return record.execute(
        "select runs.run_uuid, status, artifact_uri, name from runs "
        "join tags on tags.run_uuid = runs.run_uuid "
        "where tags.key = ? and tags.value = ? and lifecycle_stage = 'active'",
        (tag, value),
    ).fetchall()


def _tag(record: sqlite3.Connection, run: str, key: str) -> str:
    found = record.execute("select value from tags where run_uuid = ? and key = ?", (run, key))
    return str(found.fetchone()[0])


def _faults_of_points(record: sqlite3.Connection, run: str, trial: Path) -> list[str]:
    """Every number of a trial's history and result is there, once."""
    rows = record.execute("select key, step, value from metrics where run_uuid = ?", (run,))
    found: dict[tuple[str, int], list[float]] = {}
    for key, step, value in rows.fetchall():
        found.setdefault((key, step), []).append(value)
    wrong = [
        f"{trial.name}: point {name} at {step} twice"
        for (name, step), values in found.items()
        if len(values) > 1
    ]
    history = json.loads((trial / "history.json").read_text())
    last = {"step": history[-1]["step"], **read_sealed(trial / "result.json")["metrics"]}
    for report in (*history, last):
        step = report["step"]
        wrong += [
            f"{trial.name}: point {name} at {step}"
            for name in (each for each in report if "/" in each)
            if found.get((name, step), [None])[0] != report[name]
        ]
    return wrong


def _faults_of_files(artifacts: Path, trial: Path) -> list[str]:
    """Every file of a trial is there, equal."""
    kept = {path.name: path for path in artifacts.rglob("*") if path.is_file()}
    return [
        f"{trial.name}: artifact {path.name}"
        for path in trial.iterdir()
        if not path.name.startswith(".")
        and (path.name not in kept or kept[path.name].read_bytes() != path.read_bytes())
    ]


def _artifacts(uri: str, database: Path) -> Path:
    """Where a run's files lie: beside the record, or in the folder of a server."""
    address = urlparse(uri)
    path = Path(address.path)
    if address.scheme in ("", "file"):
        # of a record that was brought here, too
        return database.parent / "mlartifacts" / uri.rpartition("/mlartifacts/")[2]
    return database.parent / "artifacts" / path.relative_to("/")
