"""Puts a report on the sweep's run in MLflow, and each variant's best model into its registry.

The client is given: `platform.tracking.recorder` alone imports mlflow. Doing it twice changes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platform.storage.results import RecordError, Sweep, read_json
from platform.storage.variants import Row, Variant, variants

REPORT = "report.html"
_PLACE = "analysis"
_WEIGHTS = "files/weights.safetensors"
_SOURCE = _WEIGHTS.rpartition("/")[0]  # MLflow can fetch a version that is a folder, not a file
_ALIAS = "best"
_HEADING = "\n**Report.** "


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was put where.

    Attributes:
        run: the sweep's, in MLflow.
        files: how many artifacts it was given.
        models: registered name to its version with the alias `best`.
        without: variants whose best trial left no weights in MLflow.
    """

    run: str
    files: int
    models: Mapping[str, str]
    without: tuple[str, ...]


def put(
    client: Any, sweep: Sweep, sweep_id: str, folder: Path, chosen: Sequence[Row] | None
) -> Published:
    """Logs a report's files below `analysis/`, registers models, and describes both.

    Args:
        client: MLflow's.
        sweep: the recorded sweep.
        sweep_id: what its run is known by.
        folder: holds `report.html` and the `provenance.json` that names the report's files.
        chosen: the trial of each variant to register; by default its best feasible one.

    Raises:
        RecordError: the folder holds no report, or this MLflow has no run of the sweep.
    """
    paths = _files(folder)
    parent = _parent(client, sweep, sweep_id)
    for path in paths:
        client.log_artifact(parent.info.run_id, str(path), _PLACE)
    models, without = {}, []
    for row in _best(variants(sweep.rows())) if chosen is None else chosen:
        run = _child(client, parent, row)
        if run is None or not _has_weights(client, run.info.run_id):
            without.append(str(row["group"]))
            continue
        name = f"{sweep.name}-{row['group']}".replace("/", "-")
        models[name] = _register(client, name, run, row, sweep)
    told = parent.data.tags.get("mlflow.note.content", "").partition(_HEADING)[0]
    client.set_tag(parent.info.run_id, "mlflow.note.content", told + _description(models))
    return Published(
        run=parent.info.run_id, files=len(paths), models=models, without=tuple(without)
    )


def _parent(client: Any, sweep: Sweep, sweep_id: str) -> Any:
    experiment = client.get_experiment_by_name(str(sweep.plan.get("study")))
    wanted = f"tags.sweep_id = '{sweep_id}'"
    found = experiment and client.search_runs([experiment.experiment_id], wanted)
    if not found:
        raise RecordError(
            f"this MLflow has no run of sweep {sweep.name!r}: --tracking-uri names the one that it "
            f"was recorded in; python -m platform.sweep --sync {sweep.name} records it"
        )
    return found[0]


def _files(folder: Path) -> list[Path]:
    """The report's files: those that `provenance.json` names, and that file."""
    listed = folder / "provenance.json"
    if not (folder / REPORT).is_file() or not listed.is_file():
        raise RecordError(f"{folder} holds no report: python -m analysis.report writes one")
    named = read_json(listed).get("files")
    if not isinstance(named, Mapping):
        raise RecordError(f"{listed} is damaged: it names no files")
    return [*(path for name in named if (path := folder / name).is_file()), listed]


def _best(every: Iterable[Variant]) -> list[Row]:
    return [each.best for each in every if not each.is_reference and each.best is not None]


def _child(client: Any, parent: Any, row: Row) -> Any:
    """The run of a trial; None where it was not recorded."""
    of_sweep = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    wanted = f"{of_sweep} and tags.trial_key = '{row['trial_key']}'"
    return next(iter(client.search_runs([parent.info.experiment_id], wanted)), None)


def _has_weights(client: Any, run: str) -> bool:
    return any(file.path == _WEIGHTS for file in client.list_artifacts(run, _SOURCE))


def _register(client: Any, name: str, run: Any, row: Row, sweep: Sweep) -> str:
    """The version of a model that a run left; made where there is none yet."""
    if not client.search_registered_models(f"name = '{name}'"):
        text = f"Best model of {row['group']} in sweep {sweep.name}, by its validation images."
        client.create_registered_model(name, description=text)
    versions = client.search_model_versions(f"name = '{name}'")
    known = next((each.version for each in versions if each.run_id == run.info.run_id), None)
    tags = _tags(row, sweep)
    if known is None:
        source = f"{run.info.artifact_uri.rstrip('/')}/{_SOURCE}"
        known = client.create_model_version(name, source, run.info.run_id, tags=tags).version
    else:
        for key, value in tags.items():
            client.set_model_version_tag(name, str(known), key, value)
    client.set_registered_model_alias(name, _ALIAS, str(known))
    return str(known)


def _tags(row: Row, sweep: Sweep) -> dict[str, str]:
    """A trial's metrics, and what it was."""
    told = ("group", "model", "method", "retain_source", "forget_alpha", "lr", "seed", "data_hash")
    own = {name: row[name] for name in told} | {"sweep": sweep.name, "trial": row["name"]}
    measured = {name: value for name, value in row.items() if "/" in name}
    return {name: str(value) for name, value in {**own, **measured}.items() if value is not None}


def _description(models: Mapping[str, str]) -> str:
    lines = [f"- `models:/{name}@{_ALIAS}`, version {version}" for name, version in models.items()]
    listed = "\n".join(["\n\nThe best model of each variant, registered:\n", *lines, ""])
    return (
        f"{_HEADING}`{_PLACE}/{REPORT}` among this run's artifacts, with its figures, its tables "
        f"and `{_PLACE}/provenance.json`.{listed if models else ''}"
    )
