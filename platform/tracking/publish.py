"""Puts a report on the sweep's run in MLflow, and each variant's best model into its registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform.storage.sweep_folder import RecordError, Sweep, read_json
from platform.storage.variants import Row, variants
from platform.tracking.client import DATABASE, database_uri, open_client, record_folder, usable
from platform.tracking.runs import sweep_identity

if TYPE_CHECKING:
    from platform.tracking.client import Client, Run

REPORT = "report.html"
_FOLDER = "analysis"
_WEIGHTS = "files/weights.safetensors"
_SOURCE = _WEIGHTS.rpartition("/")[0]  # MLflow can fetch a version that is a folder, not a file
_ALIAS = "best"
_HEADING = "\n**Report.** "
_TAGGED = ("group", "model", "method", "retain_source", "forget_alpha", "lr", "seed", "data_hash")


@dataclass(frozen=True, kw_only=True)
class Published:
    """What was put into MLflow.

    Attributes:
        run: the sweep's run.
        files: how many artifacts the run was given.
        models: the version with the alias `best`, by registered name.
        without: variants whose best trial left no weights in MLflow.
    """

    run: str
    files: int
    models: Mapping[str, str]
    without: tuple[str, ...]


def publish(
    sweep: Sweep,
    folder: Path,
    tracking_uri: str | None = None,
    chosen: Sequence[Row] | None = None,
) -> Published:
    """Logs a report's files below `analysis/`, registers models, and describes both on the run.

    Publishing twice changes nothing.

    Args:
        sweep: the recorded sweep.
        folder: holds `report.html` and the `provenance.json` that names the report's files.
        tracking_uri: the address of MLflow; by default `mlflow.db` in the sweep's storage.
        chosen: the trial of each variant to register; by default its best feasible one.

    Raises:
        RecordError: there is no report, MLflow cannot be used, or it has no run of the sweep.
    """
    database = record_folder(sweep.folder) / DATABASE
    uri = tracking_uri or database_uri(database)
    if not tracking_uri and not database.is_file():
        raise RecordError(f"{database} is missing: --tracking-uri names the MLflow of the sweep")
    best = [each.best for each in variants(sweep.rows()) if not each.is_reference and each.best]
    rows = best if chosen is None else chosen
    with usable(uri):
        return _publish(open_client(uri), sweep, folder, rows)


def _publish(client: Client, sweep: Sweep, folder: Path, chosen: Sequence[Row]) -> Published:
    paths = _files(folder)
    parent = _sweep_run(client, sweep)
    for path in paths:
        client.log_artifact(parent.info.run_id, str(path), _FOLDER)
    models, without = {}, []
    for row in chosen:
        run = _trial_run(client, parent, row)
        left = [] if run is None else client.list_artifacts(run.info.run_id, _SOURCE)
        if run is None or all(file.path != _WEIGHTS for file in left):
            without.append(str(row["group"]))
            continue
        name = f"{sweep.name}-{row['group']}".replace("/", "-")
        models[name] = _register(client, name, run, row, sweep)
    note = parent.data.tags.get("mlflow.note.content", "").partition(_HEADING)[0]
    client.set_tag(parent.info.run_id, "mlflow.note.content", note + _description(models))
    return Published(
        run=parent.info.run_id, files=len(paths), models=models, without=tuple(without)
    )


def _sweep_run(client: Client, sweep: Sweep) -> Run:
    experiment = client.get_experiment_by_name(str(sweep.plan.get("study")))
    wanted = f"tags.sweep_id = '{sweep_identity(sweep.folder)}'"
    found = experiment and client.search_runs([experiment.experiment_id], wanted)
    if not found:
        raise RecordError(
            f"this MLflow has no run of sweep {sweep.name!r}: --tracking-uri names the one that it "
            f"was recorded in; python -m platform.sweep --sync {sweep.name} records it"
        )
    return found[0]


def _files(folder: Path) -> list[Path]:
    """Returns the report's files: those that `provenance.json` names, and that file."""
    listed = folder / "provenance.json"
    if not (folder / REPORT).is_file() or not listed.is_file():
        raise RecordError(f"{folder} holds no report: python -m analysis.report writes one")
    named = read_json(listed).get("files")
    if not isinstance(named, Mapping):
        raise RecordError(f"{listed} is damaged: it names no files")
    return [*(path for name in named if (path := folder / name).is_file()), listed]


def _trial_run(client: Client, parent: Run, row: Row) -> Run | None:
    """Returns the run of a trial; None where it was not recorded."""
    of_sweep = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    wanted = f"{of_sweep} and tags.trial_key = '{row['trial_key']}'"
    return next(iter(client.search_runs([parent.info.experiment_id], wanted)), None)


def _register(client: Client, name: str, run: Run, row: Row, sweep: Sweep) -> str:
    """Returns the version of the model that a run left; makes it where there is none yet."""
    if not client.search_registered_models(f"name = '{name}'"):
        text = f"Best model of {row['group']} in sweep {sweep.name}, by its validation images."
        client.create_registered_model(name, description=text)
    versions = client.search_model_versions(f"name = '{name}'")
    known = next((each.version for each in versions if each.run_id == run.info.run_id), None)
    tags = _model_tags(row, sweep)
    if known is None:
        source = f"{run.info.artifact_uri.rstrip('/')}/{_SOURCE}"
        known = client.create_model_version(name, source, run.info.run_id, tags=tags).version
    else:
        for key, value in tags.items():
            client.set_model_version_tag(name, str(known), key, value)
    client.set_registered_model_alias(name, _ALIAS, str(known))
    return str(known)


def _model_tags(row: Row, sweep: Sweep) -> dict[str, str]:
    """Returns a trial's metrics, and what it was."""
    own: dict[str, Any] = {name: row[name] for name in _TAGGED}
    own |= {"sweep": sweep.name, "trial": row["name"]}
    measured = {name: value for name, value in row.items() if "/" in name}
    return {name: str(value) for name, value in {**own, **measured}.items() if value is not None}


def _description(models: Mapping[str, str]) -> str:
    lines = [f"- `models:/{name}@{_ALIAS}`, version {version}" for name, version in models.items()]
    listed = "\n".join(["\n\nThe best model of each variant, registered:\n", *lines, ""])
    return (
        f"{_HEADING}`{_FOLDER}/{REPORT}` among this run's artifacts, with its figures, its tables "
        f"and `{_FOLDER}/provenance.json`.{listed if models else ''}"
    )
