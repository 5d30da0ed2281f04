"""Records a sweep in MLflow while it runs: what happens to its trials becomes events, in order.

The driver alone records.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from platform.tracking import client
from platform.tracking.event_queue import Event, EventQueue
from platform.tracking.runs import SweepRuns
from platform.tracking.tags import final_measurements, numbers, variants_page

if TYPE_CHECKING:
    from platform.plan.plan import Plan, PlannedTrial

SweepStatus = Literal["finished", "failed", "interrupted"]
_PATIENCE_S = 30.0  # with a server that fails at a sweep's end
_log = logging.getLogger(__name__)


class Recorder:
    """Listens to a sweep's trials, and writes what it hears to MLflow.

    A thread of its own writes, so that no trial waits for MLflow. A fault of MLflow after the start
    never raises: it is logged once, an event that was refused for now is tried again until it is
    taken, and what is left at the end is kept in `missed`.

    Args:
        plan: the sweep; its folder must exist.
        tracking_uri: the address of an MLflow server; by default `mlflow.db` in the storage folder.

    Attributes:
        tracking_uri: the address of the record.
        missed: events that MLflow had not taken when the record was closed, oldest first.

    Raises:
        RecordError: MLflow cannot be reached or used.
    """

    def __init__(self, plan: Plan, tracking_uri: str | None = None) -> None:
        folder = client.record_folder(plan.folder)
        self.tracking_uri = tracking_uri or client.database_uri(folder / client.DATABASE)
        self.missed: list[Event] = []
        self._plan = plan
        self._warned = False
        with client.usable(self.tracking_uri):
            if tracking_uri is None:
                client.make_database(folder / client.DATABASE)
                client.relocate_artifacts(folder)
            artifacts = None if tracking_uri else folder / client.ARTIFACTS
            self._runs = SweepRuns(client.open_client(self.tracking_uri), plan, artifacts)
        self._queue = EventQueue(
            self._runs.apply, is_final=client.is_final, on_trouble=self._in_trouble
        )

    @property
    def shown_uri(self) -> str:
        """The address without a password."""
        return client.without_password(self.tracking_uri)

    @property
    def variants_page(self) -> str:
        """What follows the server's address to see the sweep's variants side by side."""
        return variants_page(self._plan.name, self._runs.experiment)

    def ended_before(self, state: str) -> set[str]:
        """Returns the keys of the trials that an earlier session recorded as ended.

        Args:
            state: how: `finished`, `failed`, or `pruned`, which MLflow has no status for.
        """
        runs = self._runs.former.items()
        if state == "pruned":
            return {key for key, run in runs if "pruned" in run.data.tags}
        return {key for key, run in runs if run.info.status == state.upper()}

    def started(self, trial: PlannedTrial) -> None:
        """Opens the trial's run, or takes up the one that an earlier attempt left."""
        self._emit("started", trial=trial)

    def reported(self, trial: PlannedTrial, metrics: Mapping[str, Any]) -> None:
        """Records one report: every number named with a "/", at the report's `step`."""
        measurements = [(int(metrics.get("step", 0)), numbers(metrics))]
        self._emit("reported", trial=trial, measurements=measurements)

    def finished(self, trial: PlannedTrial, result: Mapping[str, Any]) -> None:
        """Records all that the run of a finished trial still lacks, with the trial's files.

        Args:
            trial: the trial.
            result: its `result.json`.
        """
        folder = self._plan.trial_folder(trial)
        names = {**result.get("extractors", {}), "data_hash": result.get("data_hash", "")}
        self._emit(
            "finished",
            trial=trial,
            measurements=final_measurements(folder, result, trial.config.unlearn.steps),
            tags={name: str(value) for name, value in names.items()},
            folder=folder,
        )

    def failed(self, trial: PlannedTrial, cause: str, message: str) -> None:
        """Ends the trial's run as FAILED.

        Args:
            trial: the trial.
            cause: a word or two, such as `non-finite`.
            message: the error in a line.
        """
        note = f"**{cause}**: {message[:2000]}"
        self._emit("failed", trial=trial, tags={"failure": cause, "mlflow.note.content": note})

    def pruned(self, trial: PlannedTrial, metrics: Mapping[str, Any]) -> None:
        """Ends the run of a trial that was stopped early, with its last report."""
        step = int(metrics["step"])
        self._emit(
            "pruned",
            trial=trial,
            measurements=[(step, numbers(metrics))],
            tags={"pruned": f"at step {step}"},
        )

    def retried(
        self, trial: PlannedTrial, cause: str, message: str, attempts: int, most: int
    ) -> None:
        """Says on the trial's run, which goes on, that an attempt was lost.

        Args:
            trial: the trial.
            cause: why the last attempt failed.
            message: the error in a line; it is not recorded.
            attempts: how many attempts have failed so far.
            most: how many may fail; it is not recorded.
        """
        tags = {"failed_attempts": str(attempts), "last_failure": cause}
        self._emit("retried", trial=trial, tags=tags)

    def put_back(self, trial: PlannedTrial, cause: str, message: str) -> None:
        """Records nothing: the trial is outstanding, and its run goes on with it."""

    def settle(self, patience_s: float = _PATIENCE_S) -> bool:
        """Waits until MLflow has taken everything; returns whether it has.

        Args:
            patience_s: how long MLflow may go on failing, seconds.
        """
        return not self._queue.settle(patience_s)

    def close(self, status: SweepStatus, most_s: float = math.inf) -> None:
        """Ends the sweep's run with its files, and every trial's run that is still under way.

        Args:
            status: how the sweep ended.
            most_s: how long MLflow is waited for, seconds.
        """
        self._emit("closed", status=status)
        self.missed = self._queue.close(_PATIENCE_S, most_s)

    def _emit(self, name: str, **values: Any) -> None:
        self._queue.put({"event": name, "time": int(time.time() * 1000), **values})

    def _in_trouble(self, error: Exception) -> None:
        self._runs.is_doubtful = True
        if not self._warned:
            self._warned = True
            _log.warning("%s; the sweep goes on", client.unusable(self.tracking_uri, error))
