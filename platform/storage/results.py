"""`results.parquet`: its columns, a row for each trial, and the writing of the file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.config import TrialConfig, to_dict
from trainables.utils.files import replacing

if TYPE_CHECKING:
    from platform.plan.plan import Plan, PlannedTrial

State = Literal["finished", "failed", "pruned", "interrupted"]
EXTRACTORS = ("fid_extractor", "is_extractor", "clip_model")
# fields of a configuration that a reader groups trials by, here and in MLflow
COMPARED = ("model", "method", "formulation", "retain_source")
_TEXT = (
    "trial_key",
    "name",
    "group",
    "study",
    *COMPARED,
    "test_task",
    "kind",
    "state",
    "failure",
    "data_hash",
    *EXTRACTORS,
)
_NUMBERS = ("forget_alpha", "lr", "duration_s")
# columns that earlier versions did not write; reading fills them with nulls
LATER_COLUMNS: Mapping[str, Any] = {
    "point": pa.string(),
    "number": pa.int64(),
    "pretrain_seed": pa.int64(),
    "evaluation_seed": pa.int64(),
    "params": pa.string(),
    "config": pa.string(),
    "files": pa.string(),
}
COLUMNS: Mapping[str, Any] = {
    **dict.fromkeys(_TEXT, pa.string()),
    **dict.fromkeys(_NUMBERS, pa.float64()),
    "seed": pa.int64(),
    **LATER_COLUMNS,
}


def result_row(
    plan: Plan,
    trial: PlannedTrial,
    state: State,
    result: Mapping[str, Any] | None = None,
    failure: str = "",
    duration_s: float | None = None,
) -> dict[str, Any]:
    """Returns a trial as a row of `results.parquet`.

    Rows of equal `point` are replicates: their configurations differ in the seeds of unlearning,
    pretraining and evaluation alone. `params`, `config` and `files` are JSON: the searched fields
    with their values, the whole configuration, and size and SHA-256 of each file of the trial.

    Args:
        plan: the sweep.
        trial: the trial.
        state: how it ended.
        result: its `result.json`; None where it left none.
        failure: the cause in a word or two, empty where it finished.
        duration_s: seconds; by default what the result says.
    """
    config = trial.config.canonical()
    found = result or {}
    seconds = found.get("timing", {}).get("total_s") if duration_s is None else duration_s
    return {
        "trial_key": trial.key,
        "name": trial.name,
        "group": trial.group,
        "study": plan.study,
        **{name: getattr(config, name) for name in COMPARED},
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
        "files": json.dumps(found["files"]) if "files" in found else None,
        **{name: float(value) for name, value in found.get("metrics", {}).items() if "/" in name},
    }


def unseeded(config: TrialConfig) -> TrialConfig:
    """Returns a configuration with its three seeds at 0."""
    return dataclasses.replace(
        config,
        seed=0,
        pretrain=dataclasses.replace(config.pretrain, seed=0),
        evaluation=dataclasses.replace(config.evaluation, seed=0),
    )


def write_results(folder: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes `results.parquet` whole, with a row a trial and a column a metric.

    Args:
        folder: the sweep's folder.
        rows: as `result_row` returns them.

    Returns:
        The path of the file.
    """
    metrics = sorted({name for row in rows for name in row if "/" in name})
    schema = pa.schema([*COLUMNS.items(), *((name, pa.float64()) for name in metrics)])
    path = folder / "results.parquet"
    with replacing(path) as beside:
        table = pa.Table.from_pylist(list(rows), schema=schema)
        pq.write_table(table, beside, write_page_checksum=True)
    return path
