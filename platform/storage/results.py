"""The recorded sweep in its folder: writes `results.parquet` and `environment.json`, reads it all.

A sweep's folder holds `plan.json`, `results.parquet` (a row a trial) and `trials/NAME/`, the files
of each trial. Every fault of a file that is read ends in one line that names it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from platform.storage.environment import environment
from trainables.config import TrialConfig, to_dict
from trainables.config.names import RENAMED_FIELDS
from trainables.utils.errors import UserError
from trainables.utils.files import replacing, write_json
from trainables.utils.hashing import SEAL, unseal
from trainables.utils.text import close_names, first_few, one_line

if TYPE_CHECKING:
    from platform.plan.plan import Plan, PlannedTrial

State = Literal["finished", "failed", "pruned", "interrupted"]
EXTRACTORS = ("fid_extractor", "is_extractor", "clip_model")
_TEXT = (
    "trial_key",
    "name",
    "group",
    "study",
    "model",
    "method",
    "formulation",
    "retain_source",
    "test_task",
    "kind",
    "state",
    "failure",
    "data_hash",
    *EXTRACTORS,
)
_NUMBERS = ("forget_alpha", "lr", "duration_s")
# of later versions; null in what an earlier one wrote
_LATER: Mapping[str, Any] = {
    "point": pa.string(),
    "number": pa.int64(),
    "pretrain_seed": pa.int64(),
    "evaluation_seed": pa.int64(),
    "params": pa.string(),
    "config": pa.string(),
}
COLUMNS: Mapping[str, Any] = {
    **dict.fromkeys(_TEXT, pa.string()),
    **dict.fromkeys(_NUMBERS, pa.float64()),
    "seed": pa.int64(),
    **_LATER,
}


class RecordError(UserError):
    """A sweep, or a file of one, that is missing, unfinished or damaged."""


def result_row(
    plan: Plan,
    trial: PlannedTrial,
    state: State,
    result: Mapping[str, Any] | None = None,
    failure: str = "",
    duration_s: float | None = None,
) -> dict[str, Any]:
    """One trial as a row of `results.parquet`.

    Rows of equal `point` are replicates: their configurations differ in the seeds of unlearning,
    pretraining and evaluation alone. `params` and `config` are JSON: the searched fields with their
    values, and the whole configuration.

    Args:
        plan: the sweep.
        trial: the trial.
        state: how it ended.
        result: its `result.json`; None where it left none.
        failure: the cause in a word or two, empty where it finished.
        duration_s: seconds; taken from the result where it is not given.
    """
    config = trial.config.canonical()
    found = result or {}
    seconds = found.get("timing", {}).get("total_s") if duration_s is None else duration_s
    return {
        "trial_key": trial.key,
        "name": trial.name,
        "group": trial.group,
        "study": plan.study,
        "model": config.model,
        "method": config.method,
        "formulation": config.formulation,
        "retain_source": config.retain_source,
        "test_task": config.test_task.name,
        "kind": trial.kind,
        "state": state,
        "failure": failure or None,
        "data_hash": found.get("data_hash"),
        **{name: found.get("extractors", {}).get(name) for name in EXTRACTORS},
        "forget_alpha": config.forget_alpha,
        "lr": config.unlearn.lr,
        "duration_s": seconds,
        "seed": config.seed,
        "point": unseeded(config).key(),
        "number": trial.number,
        "pretrain_seed": config.pretrain.seed,
        "evaluation_seed": config.evaluation.seed,
        "params": json.dumps(trial.params),
        "config": json.dumps(to_dict(trial.config)),
        **{name: float(value) for name, value in found.get("metrics", {}).items() if "/" in name},
    }


def unseeded(config: TrialConfig) -> TrialConfig:
    """The trial with its three seeds at 0."""
    return dataclasses.replace(
        config,
        seed=0,
        pretrain=dataclasses.replace(config.pretrain, seed=0),
        evaluation=dataclasses.replace(config.evaluation, seed=0),
    )


def write_results(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes `results.parquet`, in one step, with a row a trial and a column a metric.

    Args:
        folder: the sweep's.
        rows: by `result_row`.
    """
    metrics = sorted({name for row in rows for name in row if "/" in name})
    schema = pa.schema([*COLUMNS.items(), *((name, pa.float64()) for name in metrics)])
    path = folder / "results.parquet"
    with replacing(path) as beside:
        table = pa.Table.from_pylist(list(rows), schema=schema)
        pq.write_table(table, beside, write_page_checksum=True)
    return path


def write_environment(folder: Path) -> Path:
    """Writes `environment.json` into a sweep's folder, in one step."""
    path = folder / "environment.json"
    write_json(path, environment())
    return path


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One recorded sweep.

    Attributes:
        name: its name.
        folder: its folder.
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
        """The trials, in the order of the plan; a metric that a trial has not is None."""
        rows: list[dict[str, Any]] = self.results.to_pylist()
        return rows

    def trial_folder(self, row: Mapping[str, Any]) -> Path:
        """Where a trial's files are."""
        return self.folder / "trials" / str(row["name"])

    def trial_table(self, row: Mapping[str, Any], name: str) -> pa.Table:
        """A Parquet file that a trial left.

        Raises:
            RecordError: it is missing or damaged.
        """
        path = self.trial_folder(row) / name
        if not path.is_file():
            raise RecordError(f"trial {row['name']} left no {name}: {path} is missing")
        return read_table(path)


def read_sweep(storage: Path, name: str) -> Sweep:
    """A sweep from its folder.

    Args:
        storage: the storage folder, such as `runs`.
        name: the sweep's.

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
    missing = sorted(set(COLUMNS) - set(_LATER) - set(table.column_names))
    if missing:
        raise RecordError(f"{results_path} is no table of results: it lacks {', '.join(missing)}")
    for column, kind in _LATER.items():
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
    """Returns a plan of any version; the earliest ones are not sealed."""
    values = read_json(path)
    try:
        plan: dict[str, Any] = _renamed(unseal(values) if SEAL in values else values)
    except ValueError as error:
        raise RecordError(f"{path} is damaged: {error}") from None
    return plan


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
    """A Parquet file.

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
    """An object from a JSON file.

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
