"""The record of sweeps: writes them to MLflow, reads them back from their folder.

The only importer of mlflow, and only when a `Recorder` is made: reading and planning stay quick.
The driver alone records. Each call becomes an event of plain values with its time; applying one to
MLflow twice changes nothing, so that missed events can be applied again later.
"""

from __future__ import annotations

import logging
import math
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from platform.search.importance import importances
from platform.storage.environment import git_state
from platform.storage.replica import fetched, follow_artifacts, give, record_folder
from platform.storage.results import RecordError, Sweep, read_sweep, read_table
from platform.storage.variants import (
    Row,
    Variant,
    failures,
    label,
    metric_labels,
    variants,
)
from platform.tracking import publish as publishing
from platform.tracking import tags as record
from platform.tracking.event_queue import Delivery, Event
from platform.tracking.publish import Published
from trainables.config import REFERENCES, to_dict
from trainables.utils.addresses import is_address
from trainables.utils.errors import UserError
from trainables.utils.files import replacing, write_json
from trainables.utils.hashing import read_sealed, seal

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    from platform.plan.plan import Plan, PlannedTrial

__all__ = [
    "REFERENCES",
    "Published",
    "RecordError",
    "Recorder",
    "Row",
    "Sweep",
    "UserError",
    "Variant",
    "failures",
    "fetched",
    "give",
    "importances",
    "is_address",
    "label",
    "metric_labels",
    "publish",
    "read_sweep",
    "read_table",
    "variants",
]

SweepStatus = Literal["finished", "failed", "interrupted"]
_STATUS = {
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "pruned": "KILLED",
}
_AT_THE_TOP = ("samples.png", "tsne.png", "config.json", "result.json")
_SWEEP_FILES = (
    *("plan.json", "environment.json", "results.parquet"),
    *("manifest.parquet", "refused.json"),
)
_METRICS_A_BATCH = 1000  # MLflow's limit
_PATIENCE_S = 30.0  # with a server that fails at a sweep's end
_log = logging.getLogger(__name__)


class Recorder:
    """Writes one sweep to MLflow: a parent run, and a child run a trial.

    A thread of its own writes, so that no trial waits for MLflow. A fault of MLflow after the start
    never raises: it is logged once, what it did not take is tried again until it does, and what is
    left at the end is kept in `missed`. A resumed sweep goes on with its parent run and with its
    trials'.

    Args:
        plan: the sweep; its folder must exist.
        tracking_uri: of an MLflow server; by default `mlflow.db` in the storage folder.

    Attributes:
        tracking_uri: where the record is.
        missed: events that MLflow had not taken when the record was closed, oldest first.

    Raises:
        RecordError: MLflow cannot be reached or used.
    """

    def __init__(self, plan: Plan, tracking_uri: str | None = None) -> None:
        storage = record_folder(plan.folder)
        self.tracking_uri = tracking_uri or f"sqlite:///{storage / 'mlflow.db'}"
        self.missed: list[Event] = []
        self._plan = plan
        self._trials: dict[str, PlannedTrial] = {}
        self._made: dict[str, str] = {}
        self._opened: dict[str, str] = {}
        self._points: dict[str, set[tuple[str, int]]] = {}
        self._commit = git_state()["git_commit"] or "unknown"
        try:
            if tracking_uri is None:
                _make_database(storage / "mlflow.db")
                follow_artifacts(storage)
            self._client = _client(self.tracking_uri)
            self._experiment = self._find_experiment(None if tracking_uri else storage)
            self._parent = self._find_parent()
            self._former = self._runs_by_key()
        except RecordError:
            raise
        except Exception as error:  # whatever the store, its driver or the network raise
            raise RecordError(record.unusable(self.tracking_uri, error)) from error
        self._doubtful = self._warned = False
        self._delivery = Delivery(self._apply, is_final=_is_final, on_trouble=self._in_trouble)

    @property
    def shown_uri(self) -> str:
        """The address without a password."""
        return record.without_password(self.tracking_uri)

    @property
    def variants_page(self) -> str:
        """What follows the server's address to see the sweep's variants side by side."""
        return record.variants_page(self._plan.name, self._experiment)

    def finished_before(self) -> set[str]:
        """Keys of the trials whose runs an earlier session of this sweep ended as FINISHED."""
        return {key for key, run in self._former.items() if run.info.status == "FINISHED"}

    def failed_before(self) -> set[str]:
        """Keys of the trials whose runs an earlier session of this sweep ended as FAILED."""
        return {key for key, run in self._former.items() if run.info.status == "FAILED"}

    def pruned_before(self) -> set[str]:
        """Keys of the trials that an earlier session of this sweep stopped early."""
        return {key for key, run in self._former.items() if "pruned" in run.data.tags}

    def started(self, trial: PlannedTrial) -> None:
        """Opens the trial's run, or takes up the one that an earlier attempt left."""
        self._emit("started", trial)

    def reported(self, trial: PlannedTrial, metrics: Mapping[str, Any]) -> None:
        """Records one report: every number named with a "/", at the report's `step`."""
        points = [(int(metrics.get("step", 0)), record.numbers(metrics))]
        self._emit("reported", trial, points=points)

    def finished(self, trial: PlannedTrial, result: Mapping[str, Any]) -> None:
        """Records what is still missing of a finished trial, its files among it.

        Args:
            trial: the trial.
            result: its `result.json`.
        """
        folder = self._plan.trial_folder(trial)
        steps = trial.config.unlearn.steps
        names = {**result.get("extractors", {}), "data_hash": result.get("data_hash", "")}
        tags = {name: str(value) for name, value in names.items()}
        points = record.final_points(folder, result, steps)
        self._emit("finished", trial, points=points, tags=tags, folder=str(folder))

    def failed(self, trial: PlannedTrial, cause: str, message: str) -> None:
        """Ends the trial's run as FAILED.

        Args:
            trial: the trial.
            cause: a word or two, such as `non-finite`.
            message: the error in a line.
        """
        tags = {"failure": cause, "mlflow.note.content": f"**{cause}**: {message[:2000]}"}
        self._emit("failed", trial, tags=tags)

    def pruned(self, trial: PlannedTrial, metrics: Mapping[str, Any]) -> None:
        """Ends the run of a trial that was stopped early, with its last report."""
        step = int(metrics["step"])
        points = [(step, record.numbers(metrics))]
        self._emit("pruned", trial, points=points, tags={"pruned": f"at step {step}"})

    def retried(
        self, trial: PlannedTrial, cause: str, message: str, attempts: int, most: int
    ) -> None:
        """Says on the trial's run, which goes on, that an attempt was lost.

        Args:
            trial: the trial.
            cause: of the last failure.
            message: the error in a line; the record leaves it out.
            attempts: that have failed so far.
            most: of them that are made again; the record leaves it out.
        """
        self._emit("retried", trial, tags={"failed_attempts": str(attempts), "last_failure": cause})

    def put_back(self, trial: PlannedTrial, cause: str, message: str) -> None:
        """Records nothing: the trial is outstanding, and its run goes on with it."""

    def settle(self, patience_s: float = _PATIENCE_S) -> bool:
        """Waits until MLflow has taken everything, or fails for some seconds; whether it has."""
        return not self._delivery.settle(patience_s)

    def close(self, status: SweepStatus, most_s: float = math.inf) -> None:
        """Ends the sweep's run with its files, and every trial's run that is still under way.

        Args:
            status: of the sweep.
            most_s: how long MLflow is waited for, seconds.
        """
        self._emit("closed", status=_STATUS[status])
        self.missed = self._delivery.close(_PATIENCE_S, most_s)

    def _emit(self, name: str, trial: PlannedTrial | None = None, **values: Any) -> None:
        event = {"event": name, "time": int(time.time() * 1000), **values}
        if trial is not None:
            self._trials[trial.key] = trial
            event["trial"] = trial.key
        self._delivery.put(event)

    def _in_trouble(self, error: Exception) -> None:
        self._doubtful = True
        if not self._warned:
            self._warned = True
            _log.warning("%s; the sweep goes on", record.unusable(self.tracking_uri, error))

    def _apply(self, event: Event) -> None:
        if event["event"] == "closed":
            self._close(event)
        else:
            self._apply_to_trial(event)

    def _apply_to_trial(self, event: Event) -> None:
        key, now = event["trial"], event["time"]
        known = key in self._opened or key in self._former
        run_id = self._open(key, now)
        if event["event"] == "started" and known:
            self._start_again(run_id)
        for step, metrics in event.get("points", ()):
            self._log_metrics(key, step, metrics, now)
        for name, value in event.get("tags", {}).items():
            self._client.set_tag(run_id, name, value)
        if "folder" in event:
            self._log_files(run_id, Path(event["folder"]))
        if event["event"] in _STATUS:
            self._client.set_terminated(run_id, _STATUS[event["event"]], now)

    def _close(self, event: Event) -> None:
        for run in self._children():
            if run.info.status == "RUNNING":
                self._client.set_terminated(run.info.run_id, "KILLED", event["time"])
        for path in (self._plan.folder / name for name in _SWEEP_FILES):
            if path.is_file():
                self._client.log_artifact(self._parent, str(path))
        self._client.set_terminated(self._parent, event["status"], event["time"])

    def _open(self, key: str, now: int) -> str:
        """The run of a trial: this session's, an earlier session's, or a new one."""
        if key in self._opened:
            return self._opened[key]
        if self._doubtful:  # an answer that was lost may have left a run
            self._former = self._runs_by_key()
            self._doubtful = False
        former = self._former.get(key)
        if key not in self._made:
            self._made[key] = self._create(key, now) if former is None else former.info.run_id
        run_id = str(self._made[key])
        if former is not None:
            self._points[key] = {
                (name, point.step)
                for name in former.data.metrics
                for point in self._client.get_metric_history(run_id, name)
            }
        self._describe(run_id, self._trials[key])
        self._opened[key] = run_id
        return run_id

    def _create(self, key: str, now: int) -> str:
        trial = self._trials[key]
        tags = record.trial_tags(self._plan, trial, self._parent, self._commit)
        run = self._client.create_run(self._experiment, now, tags, trial.name)
        return str(run.info.run_id)

    def _describe(self, run_id: str, trial: PlannedTrial) -> None:
        from mlflow.entities import Param

        params = [Param(name, value) for name, value in record.trial_params(trial).items()]
        self._client.log_batch(run_id, params=params)
        self._client.log_dict(run_id, to_dict(trial.config), "config.json")

    def _start_again(self, run_id: str) -> None:
        self._client.update_run(run_id, status="RUNNING")
        for name in {"failure", "mlflow.note.content"} & set(
            self._client.get_run(run_id).data.tags
        ):
            self._client.delete_tag(run_id, name)

    def _log_metrics(self, key: str, step: int, metrics: Mapping[str, float], now: int) -> None:
        """Records the points that the run has not: a trial that runs again reports again."""
        from mlflow.entities import Metric

        seen = self._points.setdefault(key, set())
        names = [name for name in metrics if (name, step) not in seen]
        fresh = [Metric(name, metrics[name], now, step) for name in names]
        for start in range(0, len(fresh), _METRICS_A_BATCH):
            batch = fresh[start : start + _METRICS_A_BATCH]
            self._client.log_batch(self._opened[key], metrics=batch)
        seen.update((name, step) for name in names)

    def _log_files(self, run_id: str, folder: Path) -> None:
        """The pictures, the configuration and the result at the top, all else one level below."""
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                place = None if path.name in _AT_THE_TOP else "files"
                self._client.log_artifact(run_id, str(path), place)

    def _children(self) -> Iterator[Run]:
        wanted = f"tags.`mlflow.parentRunId` = '{self._parent}'"
        token = None
        while True:
            page = self._client.search_runs([self._experiment], wanted, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _runs_by_key(self) -> dict[str, Run]:
        return {run.data.tags["trial_key"]: run for run in self._children()}

    def _find_experiment(self, storage: Path | None) -> str:
        found = self._client.get_experiment_by_name(self._plan.study)
        if found is None:
            place = None if storage is None else (storage / "mlartifacts").as_uri()
            # The kind makes the user interface open with the runs, not with the traces of chats.
            tags = {"mlflow.experimentKind": "custom_model_development"}
            return str(self._client.create_experiment(self._plan.study, place, tags))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _find_parent(self) -> str:
        """The sweep's run. Its identity is a file in the sweep's folder, since names may repeat."""
        sweep_id = sweep_identity(self._plan.folder)
        found = self._client.search_runs([self._experiment], f"tags.sweep_id = '{sweep_id}'")
        if found:
            self._client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
        tags = record.sweep_tags(self._plan, sweep_id, self._commit, self._experiment)
        run = self._client.create_run(self._experiment, tags=tags, run_name=self._plan.name)
        return str(run.info.run_id)


def sweep_identity(folder: Path) -> str:
    """What the sweep's run in MLflow is known by, made at the first call.

    Raises:
        RecordError: the file that keeps it is damaged.
    """
    path = folder / "record.json"
    if not path.is_file():
        write_json(path, seal({"sweep_id": uuid.uuid4().hex}))
    try:
        return str(read_sealed(path)["sweep_id"])
    except (OSError, ValueError, KeyError) as error:
        raise RecordError(
            f"{path} is damaged or truncated ({error}): it names the sweep's run in MLflow; remove "
            "it, and the sweep is recorded as a new run"
        ) from None


def experiments(tracking_uri: str) -> int:
    """How many experiments an MLflow holds.

    Raises:
        RecordError: it cannot be reached or used.
    """
    try:
        return len(_client(tracking_uri).search_experiments())
    except Exception as error:  # as in `Recorder`
        raise RecordError(record.unusable(tracking_uri, error)) from error


def publish(
    sweep: Sweep,
    folder: Path,
    tracking_uri: str | None = None,
    chosen: Sequence[Row] | None = None,
) -> Published:
    """Puts a report and the models that it chose on the sweep's run; twice changes nothing.

    Args:
        sweep: the recorded sweep.
        folder: of the report.
        tracking_uri: of MLflow; by default `mlflow.db` in the sweep's storage.
        chosen: the trial of each variant to register; by default its best feasible one.

    Raises:
        RecordError: there is no report, MLflow cannot be used, or it has no run of the sweep.
    """
    database = record_folder(sweep.folder) / "mlflow.db"
    uri = tracking_uri or f"sqlite:///{database}"
    if not tracking_uri and not database.is_file():
        raise RecordError(f"{database} is missing: --tracking-uri names the MLflow of the sweep")
    try:
        return publishing.put(_client(uri), sweep, sweep_identity(sweep.folder), folder, chosen)
    except RecordError:
        raise
    except Exception as error:  # as in `Recorder`
        raise RecordError(record.unusable(uri, error)) from error


def _make_database(path: Path) -> None:
    """MLflow's own file, whole or not at all: one that a kill left half made serves nobody."""
    if path.exists():
        return
    with replacing(path) as beside:
        _client(f"sqlite:///{beside}").search_experiments()


def _is_final(error: Exception) -> bool:
    """Whether MLflow, or a file that it was to take, will fail so however often it is asked."""
    told = getattr(error, "get_http_status_code", None)
    response = getattr(error, "response", None)  # of requests, which carries the artifacts
    status = told() if told is not None else getattr(response, "status_code", None)
    if status is None:
        # other faults of the system and of the network may pass
        lasting = FileNotFoundError | LookupError | TypeError
        return isinstance(error, lasting) or type(error) is ValueError
    return 400 <= status < 500 and status not in (408, 429)


def _client(tracking_uri: str) -> MlflowClient:
    """A quiet client that gives up on an absent server within seconds, not MLflow's minutes."""
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "CRITICAL",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        # one that was answered too late must not be made twice: whoever asks looks first
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "8",
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    # it tells pages of each failed attempt, of which there may be many: `Recorder` tells of them
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return MlflowClient(tracking_uri=tracking_uri)
