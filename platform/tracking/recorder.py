"""Records a sweep in MLflow while it runs: what happens to its trials becomes events, in order.

The driver alone records.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from platform.tracking import client
from platform.tracking.event_queue import Event, EventQueue
from platform.tracking.runs import SweepRuns
from platform.tracking.tags import RECORDED, final_measurements, numbers, variants_page

if TYPE_CHECKING:
    from platform.plan.plan import Plan, PlannedTrial

SweepStatus = Literal["finished", "failed", "interrupted"]
_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
# events after which artifacts are due, and the names of the events that bring those
_ARTIFACTS = {"parameters": "configuration", "status": "files", "end": "sweep's files"}
_PATIENCE_S = 30.0  # with a server that fails at a sweep's end
_log = logging.getLogger(__name__)


class Recorder:
    """Listens to a sweep's trials, and writes what it hears to MLflow.

    Two threads of its own write, so that no trial waits for MLflow, and no metric or status for an
    artifact. A fault of MLflow after the start never raises: it is logged once, `EventQueue` tries
    again what may be taken yet, and what is left at the end is counted in `missed`. A trial's run
    that lacks any of it is not marked as whole, so that a later session records it.

    Args:
        plan: the sweep; its folder must exist.
        tracking_uri: the address of an MLflow server; by default `mlflow.db` in the storage folder.

    Attributes:
        tracking_uri: the address of the record.
        missed: how many events MLflow had not taken when the record was closed, by what they hold.
        fault: the last fault of MLflow, in a line; empty where there was none.

    Raises:
        RecordError: MLflow cannot be reached or used.
    """

    def __init__(self, plan: Plan, tracking_uri: str | None = None) -> None:
        folder = client.record_folder(plan.folder)
        self.tracking_uri = tracking_uri or client.database_uri(folder / client.DATABASE)
        self.missed: Counter[str] = Counter()
        self.fault = ""
        self._plan = plan
        self._described: set[str] = set()
        self._warned: set[str] = set()
        with client.usable(self.tracking_uri):
            if tracking_uri is None:
                client.make_database(folder / client.DATABASE)
                client.relocate_artifacts(folder)
            artifacts = None if tracking_uri else folder / client.ARTIFACTS
            self._runs = SweepRuns(client.open_client(self.tracking_uri), plan, artifacts)
        self._artifacts = EventQueue(
            self._runs.apply_artifacts,
            is_final=client.is_final,
            is_away=self._runs.is_away,
            on_trouble=self._in_trouble_with_artifacts,
        )
        self._queue = EventQueue(
            self._deliver,
            is_final=client.is_final,
            is_away=self._runs.is_away,
            on_trouble=self._in_trouble,
            on_loss=self._runs.lacks,
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
        """Returns the keys of the trials whose end an earlier session recorded, and whole.

        Args:
            state: how: `finished`, `failed`, or `pruned`, which MLflow has no status for.
        """
        whole = {
            key: run
            for key, run in self._runs.former.items()
            if RECORDED in run.data.tags and client.is_active(run)
        }
        if state == "pruned":
            return {key for key, run in whole.items() if "pruned" in run.data.tags}
        return {key for key, run in whole.items() if run.info.status == _STATUS[state]}

    def started(self, trial: PlannedTrial) -> None:
        """Opens the trial's run, or takes up the one that an earlier attempt left."""
        self._emit("start", trial)

    def reported(self, trial: PlannedTrial, metrics: Mapping[str, Any]) -> None:
        """Records one report: every number named with a "/", at the report's `step`."""
        self._emit("metrics", trial, measurements=[(int(metrics.get("step", 0)), numbers(metrics))])

    def finished(self, trial: PlannedTrial, result: Mapping[str, Any]) -> None:
        """Records all that the run of a finished trial still lacks, with the trial's files.

        Args:
            trial: the trial.
            result: its `result.json`.
        """
        folder = self._plan.trial_folder(trial)
        names = {**result.get("extractors", {}), "data_hash": result.get("data_hash", "")}
        measurements = final_measurements(folder, result, trial.config.unlearn.steps)
        self._emit("metrics", trial, measurements=measurements)
        self._emit("tags", trial, tags={name: str(value) for name, value in names.items()})
        self._emit("status", trial, status="FINISHED", folder=folder)

    def failed(self, trial: PlannedTrial, cause: str, message: str) -> None:
        """Ends the trial's run as FAILED.

        Args:
            trial: the trial.
            cause: a word or two, such as `non-finite`.
            message: the error in a line.
        """
        note = f"**{cause}**: {message[:2000]}"
        self._emit("tags", trial, tags={"failure": cause, "mlflow.note.content": note})
        self._emit("status", trial, status="FAILED")

    def pruned(self, trial: PlannedTrial, metrics: Mapping[str, Any]) -> None:
        """Ends the run of a trial that was stopped early, with its last report."""
        step = int(metrics["step"])
        self._emit("metrics", trial, measurements=[(step, numbers(metrics))])
        self._emit("tags", trial, tags={"pruned": f"at step {step}"})
        self._emit("status", trial, status="KILLED")

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
        self._emit("tags", trial, tags=tags)

    def put_back(self, trial: PlannedTrial, cause: str, message: str) -> None:
        """Records nothing: the trial is outstanding, and its run goes on with it."""

    def settle(self, patience_s: float = _PATIENCE_S) -> bool:
        """Waits until MLflow has taken everything; returns whether it has.

        Args:
            patience_s: how long MLflow may go on failing, seconds.
        """
        return not self._queue.settle(patience_s) and not self._artifacts.settle(patience_s)

    def close(self, status: SweepStatus, most_s: float = math.inf) -> None:
        """Ends the sweep's run with its files, and every trial's run that is still under way.

        Args:
            status: how the sweep ended.
            most_s: how long MLflow is waited for, seconds.
        """
        began = time.monotonic()
        self._queue.retry()
        self._emit("end", status=_STATUS[status])
        self.missed = self._queue.close(_PATIENCE_S, most_s)
        self._artifacts.retry()
        patience_s = 0.0 if self.missed and self._runs.is_away() else _PATIENCE_S
        left_s = most_s - (time.monotonic() - began)
        self.missed += self._artifacts.close(patience_s, left_s)
        if not self.missed:
            self._runs.mark_completed()

    def _emit(self, name: str, trial: PlannedTrial | None = None, **values: Any) -> None:
        """Queues an event; after the first one of a trial, what describes the trial."""
        now = int(time.time() * 1000)
        if trial is None:
            self._queue.put({"event": name, "time": now, **values})
            return
        self._queue.put({"event": name, "time": now, "trial": trial, **values})
        if trial.key not in self._described:
            self._described.add(trial.key)
            self._queue.put({"event": "parameters", "time": now, "trial": trial})

    def _deliver(self, event: Event) -> None:
        run_id = self._runs.apply(event)
        if event["event"] in _ARTIFACTS:
            self._artifacts.put({**event, "event": _ARTIFACTS[event["event"]], "run_id": run_id})

    def _in_trouble(self, error: Exception) -> None:
        self._runs.is_doubtful = True
        if client.is_final(error):
            self._warn("refused", client.refusing(self.tracking_uri, "a part of the record", error))
        else:
            self._warn("away", client.unusable(self.tracking_uri, error))

    def _in_trouble_with_artifacts(self, error: Exception) -> None:
        self._warn("artifacts", client.refusing(self.tracking_uri, "the files of trials", error))

    def _warn(self, kind: str, fault: str) -> None:
        """Keeps a fault, and logs the first one of its kind."""
        self.fault = fault
        if kind not in self._warned:
            self._warned.add(kind)
            _log.warning("%s; the sweep goes on", fault)
