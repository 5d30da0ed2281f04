"""Which trial starts next, and what follows from how one ends. Knows no Ray."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from platform.execution import heartbeat, reuse, trial_process
from platform.execution.trial_process import Failure, Order
from platform.plan import resources
from platform.plan.limits import RETRIED, Limits
from platform.storage.replica import TAKEN_OVER, Copy, storage_address
from trainables.config import to_dict
from trainables.config.names import SNAPSHOT
from trainables.utils.errors import UserError
from trainables.utils.text import counted

if TYPE_CHECKING:
    from platform.cli.progress import Progress
    from platform.cli.timing import Phases
    from platform.plan.plan import Plan, PlannedTrial
    from platform.search.ledger import Ledger
    from platform.tracking.recorder import Recorder


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        interrupted: with trials outstanding.
        reason: why, in a line, where it was not a signal.
    """

    interrupted: bool
    reason: str = ""


class Dispatch:
    """A session's trials: which starts next, and what follows from how each ends.

    Args:
        plan: the sweep.
        ledger: what is outstanding, and how what ends has ended.
        recorder: writes to MLflow.
        progress: tells the user.
        limits: of this session.
        phases: of the session's time.
        copy: of the sweep, where its storage has an address.

    Attributes:
        running: the trials under way, by key.
        halted: keys of those that are being stopped early.
        reason: why this session starts no more trials, in a line; empty while it does.
    """

    def __init__(
        self,
        plan: Plan,
        ledger: Ledger,
        recorder: Recorder,
        progress: Progress,
        limits: Limits,
        phases: Phases,
        copy: Copy | None = None,
    ) -> None:
        self.plan = plan
        self.ledger = ledger
        self.recorder = recorder
        self.progress = progress
        self.limits = limits
        self.phases = phases
        self.copy = copy or Copy(plan)
        self._address = storage_address(plan)
        self.running: dict[str, PlannedTrial] = {}
        self.halted: set[str] = set()
        self.begun: set[str] = set()
        self.lost: Counter[str] = Counter()
        self.reason = ""

    def seconds_left(self) -> float | None:
        """Of the session's time budget; None without one."""
        budget = self.limits.time_budget_s
        return None if budget is None else max(0.1, budget - self.phases.elapsed())

    def outcome(self) -> Outcome:
        """How the session stands once nothing of it runs any more."""
        interrupted = bool(self.running)
        self.ledger.interrupt()
        if self._time_is_up():
            self.reason = self.reason or "the time budget is spent"
        if self._trials_are_up():
            self.reason = self.reason or f"{counted(len(self.begun), 'trial')} started (--trials)"
        return Outcome(interrupted=interrupted or self.ledger.outstanding() > 0, reason=self.reason)

    def _time_is_up(self) -> bool:
        budget = self.limits.time_budget_s
        return budget is not None and self.phases.elapsed() >= budget

    def _trials_are_up(self) -> bool:
        return self.limits.trials is not None and len(self.begun) >= self.limits.trials

    def next(self) -> PlannedTrial | None:
        """The next trial to start; None where nothing can start now, see `over`."""
        if self.over():
            return None
        trial = self.ledger.next()
        if trial is not None:
            self.running[trial.key] = trial
            self.begun.add(trial.key)
        return trial

    def over(self) -> bool:
        """Whether this session starts no more trials."""
        if self.copy.taken_over:
            self.reason = self.reason or TAKEN_OVER
        if self.reason or self._trials_are_up():
            return True
        return not (self.ledger.ready() or self.ledger.waiting())

    def order(self, trial: PlannedTrial) -> Order:
        """What the trial's process is told."""
        # of an attempt before, which may have been on another node
        heartbeat.forget_silence(self.plan.trial_folder(trial))
        return Order(
            key=trial.key,
            config=to_dict(trial.config),
            folder=self._told(self.plan.trial_folder(trial)),
            cache=self._told(self.plan.cache),
            address=self._address,
            trainer=resources.uses_trainer(self.plan.launch),
            workers=self.plan.launch.workers,
            gpus=self.plan.launch.gpus_per_trial,
        )

    def _told(self, path: Path) -> str:
        """As each node finds it."""
        at = path.relative_to(self.plan.storage) if self._address else path.absolute()
        return str(at)

    def started(self, key: str) -> None:
        """A process began the trial."""
        self.ledger.began(self.running[key])
        self.recorder.trial_started(self.running[key])
        self.progress.started(self.running[key])

    def reported(self, key: str, metrics: dict[str, float]) -> None:
        """An evaluation arrived."""
        self.recorder.trial_reported(self.running[key], metrics)
        self.progress.reported(self.running[key], metrics)

    def _pruned(self, key: str, metrics: dict[str, float]) -> None:
        """The trial was stopped early; its files stay, but for what it would go on from."""
        trial = self.running.pop(key)
        self.halted.discard(key)
        (self.plan.trial_folder(trial) / SNAPSHOT).unlink(missing_ok=True)
        self.copy.forget_snapshot(trial)
        self.ledger.prune(trial, metrics)
        self.recorder.trial_pruned(trial, metrics)
        self.progress.pruned(trial, int(metrics["step"]))

    def ended(
        self, key: str, failure: Failure | None, last: dict[str, float] | None = None
    ) -> None:
        """The trial's process is done: its result file or its failure decides what is recorded.

        Args:
            key: the trial's.
            failure: why it failed; None where it did not.
            last: what it reported last.
        """
        if key in self.halted and last:
            self._pruned(key, last)
        else:
            self._ended(key, failure)

    def _ended(self, key: str, failure: Failure | None) -> None:
        trial = self.running.pop(key)
        folder = self.plan.trial_folder(trial)
        if failure is not None and heartbeat.fell_silent(folder):
            silent = f"a process gave no sign of life for {heartbeat.LOST_AFTER_S:.0f} s"
            failure = Failure(cause="worker lost", message=f"{silent} and was killed")
        failure = failure or self._missed(folder)
        if failure is None:
            try:
                result = trial_process.read_result(folder)
            except (OSError, ValueError) as error:
                failure = Failure(cause="crash", message=f"no result: {error}")
        if failure is not None:
            self._failed(trial, failure)
            return
        if not self.ledger.finish(trial, result):
            self._tell_failed(trial, "non-finite", "the objective is not a finite number")
            return
        reuse.enter(self.plan, trial, self.copy)
        self.recorder.trial_finished(trial, folder, result)
        self.progress.finished(trial, result)

    def _missed(self, folder: Path) -> Failure | None:
        """Why a trial's files, which are whole there, could not be brought here."""
        try:
            self.copy.take_trial(folder, waits=not self.reason)
        except (UserError, OSError) as error:
            return trial_process.diagnose(error)
        return None

    def _failed(self, trial: PlannedTrial, failure: Failure) -> None:
        """A failure that another attempt may mend leaves the trial outstanding."""
        if failure.cause in ("disk", "storage"):
            # every other trial would meet it too
            self.ledger.put_back(trial)
            full = f"the disk is full ({failure.message}): free some room"
            self.reason = full if failure.cause == "disk" else failure.message
            self.progress.put_back(trial, f"{failure.cause}: {failure.message}")
        elif failure.cause in RETRIED and self.lost[trial.key] < self.limits.max_failures:
            self.lost[trial.key] += 1
            count = self.lost[trial.key]
            self.ledger.put_back(trial)
            self.begun.discard(trial.key)
            self.recorder.trial_retried(trial, count, failure.cause)
            again = f"tried again, {count} of at most {self.limits.max_failures} times"
            self.progress.put_back(trial, f"{failure.cause}: {failure.message}; {again}")
        else:
            self.ledger.fail(trial, failure.cause, failure.message)
            self._tell_failed(trial, failure.cause, failure.message)

    def _tell_failed(self, trial: PlannedTrial, cause: str, message: str) -> None:
        self.recorder.trial_failed(trial, cause, message)
        self.progress.failed(trial, f"{cause}: {message}")
