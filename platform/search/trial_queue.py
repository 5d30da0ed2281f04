"""Hands out the outstanding trials of a sweep, and has the ledger record how each ended."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from platform.plan.plan import PlannedTrial
from platform.search.ledger import Ledger, LedgerError
from platform.search.outstanding import find_lost
from platform.search.trial_record import Entry
from platform.storage.results import State
from trainables.config.names import RESULT
from trainables.utils.hashing import read_sealed


class TrialQueue:
    """The outstanding trials, in the order of the plan, then as they are proposed.

    Args:
        ledger: knows which trials are outstanding.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._waiting = deque(ledger.open_trials())
        self._began: dict[str, float] = {}

    def waiting(self) -> tuple[PlannedTrial, ...]:
        """Returns the trials that can start now, in their order."""
        return tuple(self._waiting)

    def is_over(self) -> bool:
        """Reports whether no trial can start any more, unless one under way is put back."""
        return not self._waiting and not self.ledger.unproposed()

    def next(
        self, starts: Callable[[PlannedTrial], bool] = lambda trial: True
    ) -> PlannedTrial | None:
        """Hands out the first trial that `starts`; None where none can now, see `is_over`."""
        trial = next(filter(starts, self._waiting), None)
        if trial is not None:
            self._waiting.remove(trial)
            self.began(trial)
        return trial

    def began(self, trial: PlannedTrial) -> None:
        """Counts the time of a trial that was handed out from now, when it has found room."""
        self._began[trial.key] = time.monotonic()

    def finish(self, trial: PlannedTrial, result: Mapping[str, Any]) -> bool:
        """Records a finished trial.

        Args:
            trial: the trial.
            result: the content of its `result.json`.

        Returns:
            False where its objective or constraint is not a finite number, or missing: the trial
            is then recorded as failed.
        """
        metrics = result.get("metrics", {})
        objective, violation = (metrics.get(f"val/{name}") for name in ("objective", "violation"))
        if not all(isinstance(v, float | int) and math.isfinite(v) for v in (objective, violation)):
            message = f"val/objective is {objective} and val/violation {violation}"
            self.fail(trial, "non-finite", message)
            return False
        usual_s = float(result.get("timing", {}).get("total_s", 0.0))
        self._end(trial, "finished", usual_s, result=dict(result))
        return True

    def fail(self, trial: PlannedTrial, cause: str, message: str) -> None:
        """Records a failed trial.

        Args:
            trial: the trial.
            cause: a word or two, such as `non-finite`.
            message: the error in a line.
        """
        self._end(trial, "failed", cause=cause, message=message)

    def prune(self, trial: PlannedTrial, metrics: Mapping[str, float]) -> None:
        """Records a trial that was stopped early.

        Args:
            trial: the trial.
            metrics: its last report, with `step`, `val/objective` and `val/violation`.
        """
        self._end(trial, "pruned", result={"trial_key": trial.key, "metrics": dict(metrics)})

    def put_back(self, trial: PlannedTrial) -> None:
        """Queues a trial whose attempt was lost after all that wait."""
        self._began.pop(trial.key, None)
        self._waiting.append(trial)

    def retry_failed(self) -> list[PlannedTrial]:
        """Queues the failed trials once more, and returns them."""
        again = self.ledger.reopen_failed()
        self._waiting.extend(again)
        return again

    def repair(self) -> list[tuple[PlannedTrial, list[str]]]:
        """Queues the finished trials that have lost files; returns each with what it lost.

        Raises:
            OSError: a result cannot be removed, or the ledger cannot be written.
        """
        plan = self.ledger.plan
        broken = find_lost(plan, self.ledger.entries(), read=True)
        again = [trial for trial, _ in broken]
        for trial in again:
            # before the ledger tells of it, else `recover` of a later session takes it for finished
            (plan.trial_folder(trial) / RESULT).unlink(missing_ok=True)
        self.ledger.reopen(again)
        self._waiting.extend(again)
        return broken

    def recover(self) -> list[PlannedTrial]:
        """Takes in trials that left their result before anyone recorded it; returns them.

        Raises:
            LedgerError: a result that was altered. It was written in one step, so that no kill can
                have left it so.
        """
        taken = []
        for trial in self.waiting():
            path = self.ledger.plan.trial_folder(trial) / RESULT
            if not path.exists():  # it has not finished
                continue
            try:
                result = read_sealed(path)
                if not _is_of(trial, result):
                    raise ValueError("it is another trial's")
            except (OSError, ValueError) as error:
                raise LedgerError(
                    f"{path} is damaged ({error}): remove it, and the trial runs again"
                ) from error
            if self.take_in(trial, result):
                taken.append(trial)
        return taken

    def take_in(self, trial: PlannedTrial, result: Mapping[str, Any]) -> bool:
        """Records, as `finish` does, a waiting trial that has a result without being run."""
        finished = self.finish(trial, result)
        self._waiting.remove(trial)
        return finished

    def _end(self, trial: PlannedTrial, state: State, usual_s: float = 0.0, **how: Any) -> None:
        """Records how a trial ended, and the seconds since it began; else, `usual_s`."""
        began = self._began.pop(trial.key, None)
        seconds = 0.0 if began is None else time.monotonic() - began
        entry = Entry(trial=trial, state=state, duration_s=seconds or usual_s, **how)
        self._waiting.extend(self.ledger.write(entry))


def _is_of(trial: PlannedTrial, result: Mapping[str, Any]) -> bool:
    """Reports whether a file holds this trial's result, whole."""
    parts = [result.get(part) for part in ("metrics", "timing")]
    return result.get("trial_key") == trial.key and all(isinstance(part, dict) for part in parts)
