"""The one importer of mlflow: quiet clients, whole databases, and which errors are final.

It alone writes to the tables of MLflow's database: MLflow keeps the folder of a run's artifacts as
an absolute address, and has neither a command nor a function that changes it. mlflow takes seconds
to import, so functions import it when they are called.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from platform.storage.sweep_folder import RecordError
from trainables.utils.files import replacing
from trainables.utils.object_store import Mirror
from trainables.utils.text import one_line

if TYPE_CHECKING:
    from mlflow import MlflowClient as _MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities import Run as Run

    Client = _MlflowClient

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
_METRICS_A_BATCH = 1000  # MLflow's limit
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # a request that was answered too late must not be made twice: the caller looks first
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "8",
}


def record_folder(folder: Path) -> Path:
    """Returns the folder of a sweep's `mlflow.db` and `mlartifacts/`, where no server has them.

    Sweeps of one storage share it. Where the storage has an address they may run on machines that
    know nothing of each other, so that each sweep has its own.

    Args:
        folder: the sweep's folder.
    """
    storage = folder.parent
    return (storage if Mirror.of(storage) is None else folder).resolve()


def database_uri(database: Path) -> str:
    """Returns the tracking URI of a database file."""
    return f"sqlite:///{database}"


def make_database(path: Path) -> None:
    """Makes MLflow's database where there is none, whole or not at all."""
    if path.exists():
        return
    with replacing(path) as beside:
        open_client(database_uri(beside)).search_experiments()


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


def open_client(tracking_uri: str) -> Client:
    """Returns a quiet client that gives up on an absent server within seconds, not minutes."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    # Both log pages at each failed attempt, of which there may be many; the caller logs a line.
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient(tracking_uri=tracking_uri)


@contextlib.contextmanager
def usable(tracking_uri: str) -> Iterator[None]:
    """Turns any fault of MLflow in the block into a line with its remedy.

    Raises:
        RecordError: MLflow cannot be reached or used.
    """
    try:
        yield
    except RecordError:
        raise
    except Exception as error:  # whatever the store, its driver or the network raise
        raise RecordError(unusable(tracking_uri, error)) from error


def count_experiments(tracking_uri: str) -> int:
    """Returns how many experiments an MLflow holds.

    Raises:
        RecordError: it cannot be reached or used.
    """
    with usable(tracking_uri):
        return len(open_client(tracking_uri).search_experiments())


def search_runs(client: Client, experiment: str, wanted: str) -> list[Run]:
    """Returns the runs of an experiment that a filter finds, those that were deleted first."""
    from mlflow.entities import ViewType

    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs([experiment], wanted, ViewType.ALL, page_token=token)
        found += page
        token = page.token
        if not token:
            return sorted(found, key=is_active)


def is_active(run: Run) -> bool:
    """Reports whether a run was not deleted."""
    return bool(run.info.lifecycle_stage == "active")


def log_params(client: Client, run_id: str, params: Mapping[str, str]) -> None:
    """Logs parameters on a run."""
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(name, value) for name, value in params.items()])


def log_metrics(
    client: Client, run_id: str, metrics: Mapping[str, float], step: int, time_ms: int
) -> list[Exception]:
    """Logs any number of metrics on a run.

    Args:
        client: of the MLflow that holds the run.
        run_id: the run.
        metrics: values by name.
        step: the training step that they belong to.
        time_ms: when they were measured, milliseconds since 1970.

    Returns:
        Why metrics were refused for good, an error each; all others are logged.
    """
    from mlflow.entities import Metric

    entries = [Metric(name, value, time_ms, step) for name, value in metrics.items()]
    parts = (entries[at : at + _METRICS_A_BATCH] for at in range(0, len(entries), _METRICS_A_BATCH))
    return [error for part in parts for error in _log_batch(client, run_id, part)]


def _log_batch(client: Client, run_id: str, entries: list[Metric]) -> list[Exception]:
    """Logs metrics; MLflow refuses a batch whole for one of them, which halving finds."""
    try:
        client.log_batch(run_id, metrics=entries)
    except Exception as error:
        if not is_final(error):
            raise
        if len(entries) == 1:
            return [error]
        half = len(entries) // 2
        parts = (entries[:half], entries[half:])
        return [each for part in parts for each in _log_batch(client, run_id, part)]
    return []


def do_all(calls: Iterable[Callable[[], object]]) -> None:
    """Makes calls to MLflow one after the other, also after one that is refused for good.

    Raises:
        Exception: the first refusal, once all calls are made; another fault at once.
    """
    refusals: list[Exception] = []
    for call in calls:
        try:
            call()
        except Exception as error:
            if not is_final(error):
                raise
            refusals.append(error)
    if refusals:
        raise refusals[0]


def is_final(error: Exception) -> bool:
    """Reports whether MLflow, or a file that it was to take, fails so however often it is asked."""
    status_of = getattr(error, "get_http_status_code", None)  # of mlflow's exceptions
    response = getattr(error, "response", None)  # of requests, which carries the artifacts
    status = status_of() if status_of is not None else getattr(response, "status_code", None)
    if status is None:
        # other faults of the system and of the network may pass
        lasting = FileNotFoundError | LookupError | TypeError
        return isinstance(error, lasting) or type(error) is ValueError
    return 400 <= status < 500 and status not in (408, 429)


def unusable(tracking_uri: str, error: Exception) -> str:
    """Returns one line on an MLflow that fails, with the remedy and without passwords."""
    remedy = (
        "is the server running, and is --tracking-uri its address?"
        if tracking_uri.startswith("http")
        else "is its folder there and writable?"
    )
    return f"MLflow at {_fault(tracking_uri, 'cannot be used', error)}; {remedy}"


def refusing(tracking_uri: str, what: str, error: Exception) -> str:
    """Returns one line on an MLflow that answers and does not take something.

    Args:
        tracking_uri: the address of the MLflow.
        what: it does not take.
        error: by which it says so.
    """
    return f"MLflow at {_fault(tracking_uri, f'does not take {what}', error)}"


def _fault(tracking_uri: str, what: str, error: Exception) -> str:
    # a password that were cut in two would be shown, so it is taken out before the cut
    fault = without_password(f"{tracking_uri} {what} ({type(error).__name__}: {error}")
    return f"{one_line(fault)})"


def without_password(text: str) -> str:
    """Returns a text in which no address shows who signs in, or by what password."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)
