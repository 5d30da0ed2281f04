"""A sweep's runs in MLflow, one of the sweep and below it one a trial: applies events to them.

Applying an event twice changes nothing, so that an event whose answer was lost is applied again.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from platform.storage.environment import git_state
from platform.storage.sweep_folder import RecordError
from platform.tracking.client import (
    do_all,
    is_active,
    is_final,
    log_metrics,
    log_params,
    search_runs,
)
from platform.tracking.tags import RECORDED, Measurements, sweep_tags, trial_params, trial_tags
from trainables.config import to_dict
from trainables.utils.files import json_text, write_json
from trainables.utils.hashing import read_sealed, seal

if TYPE_CHECKING:
    from platform.plan.plan import Plan, PlannedTrial
    from platform.tracking.client import Client, Run
    from platform.tracking.event_queue import Event

_TOP_FILES = ("samples.png", "tsne.png", "config.json", "result.json")
_SWEEP_FILES = (
    *("plan.json", "environment.json", "results.parquet"),
    *("manifest.parquet", "refused.json"),
)


class SweepRuns:
    """Finds the runs of a sweep in MLflow, makes those that it lacks, and writes to them.

    A resumed sweep goes on with its own run and with its trials' runs.

    Args:
        client: of the MLflow.
        plan: the sweep.
        artifacts: the folder for the artifacts of a new experiment; None leaves it to a server.

    Attributes:
        experiment: the experiment's number in MLflow.
        former: runs of trials that earlier sessions left, by the trials' keys.
        is_doubtful: an answer was lost, so that MLflow may have runs that are not known here.

    Raises:
        RecordError: the file that names the sweep's run is damaged.
    """

    def __init__(self, client: Client, plan: Plan, artifacts: Path | None) -> None:
        self._client, self._plan = client, plan
        self._commit = git_state()["git_commit"] or "unknown"
        self._made: dict[str, str] = {}
        self._opened: dict[str, str] = {}
        self._status: dict[str, str] = {}
        self._ended: dict[str, int] = {}
        self._measured: dict[str, set[tuple[str, int]]] = {}
        self._incomplete: set[str] = set()
        self.is_doubtful = False
        self.experiment = self._find_experiment(artifacts)
        self._parent = self._find_parent()
        self.former = self.runs_by_key()

    def apply(self, event: Event) -> str:
        """Writes one event to MLflow, but no artifact; returns the number of its run."""
        trial, now = event.get("trial"), event["time"]
        if trial is None:
            self._close(event["status"], now)
            return self._parent
        known = trial.key in self._opened or trial.key in self.former
        run_id = self._open(trial, now)
        match event["event"]:
            case "start" if known and now >= self._ended.get(trial.key, 0):  # else it is late
                self._start_again(trial.key, run_id)
            case "parameters":
                log_params(self._client, run_id, trial_params(trial))
            case "metrics":
                self._log_measurements(trial.key, event["measurements"], now)
            case "tags":
                do_all(partial(self._client.set_tag, run_id, *tag) for tag in event["tags"].items())
            case "status":
                self._end(trial.key, run_id, event["status"], now)
        return run_id

    def apply_artifacts(self, event: Event) -> None:
        """Writes the artifacts of an event to its run, which `apply` returned as `run_id`.

        With the last of them the run of a trial is marked as whole.
        """
        run_id, trial, folder = event["run_id"], event.get("trial"), event.get("folder")
        if trial is None:
            paths = [self._plan.folder / name for name in _SWEEP_FILES]
            do_all(self._logged(run_id, path) for path in paths if path.is_file())
        elif folder is None:
            # as the trial writes it, which brings its own: whichever comes last, they are equal
            self._client.log_text(run_id, json_text(to_dict(trial.config)), "config.json")
        else:
            self._log_files(run_id, Path(folder))
        if trial is not None and event["event"] == "files" and trial.key not in self._incomplete:
            self._client.set_tag(run_id, RECORDED, "whole")

    def lacks(self, event: Event) -> None:
        """Takes in that an event of `apply` was not written: its run is not marked as whole."""
        if "trial" in event:
            self._incomplete.add(event["trial"].key)

    def mark_completed(self) -> None:
        """Marks the runs that lacked something for a while as whole, once nothing is missed."""
        with contextlib.suppress(Exception):  # a later session records these once more
            for key in self._incomplete & self._ended.keys():
                self._client.set_tag(self._opened[key], RECORDED, "whole")

    def is_away(self) -> bool:
        """Reports whether MLflow takes nothing, not even a tag that the sweep's run has."""
        try:
            self._client.set_tag(self._parent, "sweep", self._plan.name)
        except Exception as error:  # whatever the store, its driver or the network raise
            return not is_final(error)
        return False

    def runs_by_key(self) -> dict[str, Run]:
        """Returns the trials' runs that MLflow has, by the trials' keys; deleted ones too."""
        found = ((run.data.tags.get("trial_key"), run) for run in self._children())
        return {key: run for key, run in found if key is not None}

    def _children(self) -> list[Run]:
        wanted = f"tags.`mlflow.parentRunId` = '{self._parent}'"
        return search_runs(self._client, self.experiment, wanted)

    def _close(self, status: str, now: int) -> None:
        for run in self._children():  # also one that is there twice, or made by hand
            if run.info.status == "RUNNING" and is_active(run):
                self._client.set_terminated(run.info.run_id, "KILLED", now)
        self._client.set_terminated(self._parent, status, now)

    def _open(self, trial: PlannedTrial, now: int) -> str:
        """Returns the run of a trial: this session's, an earlier session's, or a new one."""
        key = trial.key
        if key in self._opened:
            return self._opened[key]
        if self.is_doubtful:
            self.former = self.runs_by_key()
            self.is_doubtful = False
        former = self.former.get(key)
        if key not in self._made:
            self._made[key] = self._create(trial, now) if former is None else former.info.run_id
        run_id = str(self._made[key])
        if former is not None:
            if not is_active(former):
                self._client.restore_run(run_id)
            self._status[key] = former.info.status
            self._measured[key] = {
                (name, metric.step)
                for name in former.data.metrics
                for metric in self._client.get_metric_history(run_id, name)
            }
        self._opened[key] = run_id
        return run_id

    def _create(self, trial: PlannedTrial, now: int) -> str:
        tags = trial_tags(self._plan, trial, self._parent, self._commit)
        run = self._client.create_run(self.experiment, now, tags, trial.name)
        return str(run.info.run_id)

    def _start_again(self, key: str, run_id: str) -> None:
        self._client.update_run(run_id, status="RUNNING")
        self._status[key] = "RUNNING"
        self._forget_end(run_id)

    def _end(self, key: str, run_id: str, status: str, now: int) -> None:
        before = self._status.get(key)
        if before != status:
            if before == "FAILED":  # it has a result without having been started again
                self._forget_end(run_id)
            self._client.set_terminated(run_id, status, now)
        self._status[key] = status
        self._ended[key] = now

    def _forget_end(self, run_id: str) -> None:
        """Removes what says how the trial of a run ended before, and that it is whole."""
        tags = self._client.get_run(run_id).data.tags
        for name in {"failure", "mlflow.note.content", RECORDED} & set(tags):
            self._client.delete_tag(run_id, name)

    def _log_measurements(self, key: str, measurements: Measurements, now: int) -> None:
        """Logs what the run has not: a trial that runs again reports again."""
        seen = self._measured.setdefault(key, set())
        refusals: list[Exception] = []
        for step, metrics in measurements:
            fresh = {name: value for name, value in metrics.items() if (name, step) not in seen}
            refusals += log_metrics(self._client, self._opened[key], fresh, step, now)
            seen.update((name, step) for name in fresh)
        if refusals:
            raise refusals[0]

    def _log_files(self, run_id: str, folder: Path) -> None:
        """Logs pictures, configuration and result at the top, all else below `files`."""
        do_all(
            self._logged(run_id, path, None if path.name in _TOP_FILES else "files")
            for path in sorted(folder.iterdir())
            if path.is_file() and not path.name.startswith(".")
        )

    def _logged(self, run_id: str, path: Path, below: str | None = None) -> Callable[[], None]:
        return partial(self._client.log_artifact, run_id, str(path), below)

    def _find_experiment(self, artifacts: Path | None) -> str:
        found = self._client.get_experiment_by_name(self._plan.study)
        if found is None:
            location = None if artifacts is None else artifacts.as_uri()
            # The kind makes the user interface open with the runs, not with the traces of chats.
            tags = {"mlflow.experimentKind": "custom_model_development"}
            return str(self._client.create_experiment(self._plan.study, location, tags))
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _find_parent(self) -> str:
        """Returns the sweep's run, by the identity in its folder, since names may repeat."""
        sweep_id = sweep_identity(self._plan.folder)
        found = search_runs(self._client, self.experiment, f"tags.sweep_id = '{sweep_id}'")
        if found:
            parent = found[-1]
            if not is_active(parent):
                self._client.restore_run(parent.info.run_id)
            self._client.update_run(parent.info.run_id, status="RUNNING")
            return str(parent.info.run_id)
        tags = sweep_tags(self._plan, sweep_id, self._commit, self.experiment)
        run = self._client.create_run(self.experiment, tags=tags, run_name=self._plan.name)
        return str(run.info.run_id)


def sweep_identity(folder: Path) -> str:
    """Returns the tag by which the sweep's run in MLflow is known; makes it at the first call.

    Args:
        folder: the sweep's folder.

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
