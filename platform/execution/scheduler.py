"""Says whether another trial may start, and what follows from how one ends. Knows no Ray."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from platform.execution import heartbeat, reuse
from platform.execution.failures import CAUSES, Cause, Failure, diagnose, file_fault
from platform.execution.trial_process import TrialOrder, read_result
from platform.execution.work_ahead import WorkAhead
from platform.plan import resources
from platform.plan.plan import Limits, Plan, PlannedTrial
from platform.storage.address import storage_address
from platform.storage.replica import TAKEN_OVER, Replica
from trainables.config import to_dict
from trainables.config.names import SNAPSHOT
from trainables.utils.errors import UserError
from trainables.utils.text import counted

if TYPE_CHECKING:
    from platform.search.trial_queue import TrialQueue


class TrialListener(Protocol):
    """Is told what happens to the trials of a sweep, in the order in which it happens."""

    def started(self, trial: PlannedTrial) -> None:
        """A process began the trial, for the first time or again."""

    def reported(self, trial: PlannedTrial, metrics: Mapping[str, Any]) -> None:
        """The trial was evaluated; `metrics` holds the figures and their `step`."""

    def finished(self, trial: PlannedTrial, result: Mapping[str, Any]) -> None:
        """The trial finished; `result` is its `result.json`."""

    def pruned(self, trial: PlannedTrial, metrics: Mapping[str, Any]) -> None:
        """The trial was stopped early; `metrics` is its last report."""

    def failed(self, trial: PlannedTrial, cause: str, message: str) -> None:
        """The trial failed for good; `message` is the error in a line."""

    def retried(
        self, trial: PlannedTrial, cause: str, message: str, attempts: int, most: int
    ) -> None:
        """An attempt was lost, the trial will run again: `attempts` of `most` have been lost."""

    def put_back(self, trial: PlannedTrial, cause: str, message: str) -> None:
        """An attempt met a fault that every trial would meet; the trial stays outstanding."""


# tells a listener one thing that happened to a trial
Event = Callable[[TrialListener], None]


@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """Holds what one session of a sweep runs with.

    Attributes:
        plan: the sweep.
        queue: the outstanding trials; records how each ends.
        listeners: are told what happens to the trials, each in turn.
        limits: of this session.
        replica: the sweep's files behind the address of its storage, where that has one.
        elapsed_s: returns the seconds since the session began.
        begin_phase: is told what the session spends its time on from now on.
        tell_shared_work: is told (label, steps done, steps in total) of work that trials share.
        address: of a cluster that this process has joined; None for a Ray of the sweep's own.
        debug: lets Ray's own log through.
    """

    plan: Plan
    queue: TrialQueue
    listeners: tuple[TrialListener, ...]
    limits: Limits
    replica: Replica
    elapsed_s: Callable[[], float]
    begin_phase: Callable[[str], None] = lambda label: None
    tell_shared_work: Callable[[str, int, int], None] = lambda label, step, total: None
    address: str | None = None
    debug: bool = False


@dataclass(frozen=True)
class Outcome:
    """Says how a session ended.

    Attributes:
        interrupted: whether trials are outstanding.
        reason: why, in a line; empty where a signal interrupted it.
    """

    interrupted: bool
    reason: str = ""


class Scheduler:
    """Hands out a session's trials, and takes in how each ends.

    Args:
        sweep: the session; the shared work of its waiting trials has been built.

    Attributes:
        plan: the sweep.
        running: the trials under way, by key.
        reason: why this session starts no more trials, in a line; empty while it does.
    """

    def __init__(self, sweep: SweepRun) -> None:
        self.sweep = sweep
        self.plan = sweep.plan
        self.running: dict[str, PlannedTrial] = {}
        self._halted: set[str] = set()
        self.reason = ""
        self._queue = sweep.queue
        self._replica = sweep.replica
        self._address = storage_address(sweep.plan)
        self._ahead = WorkAhead(sweep.queue.waiting())
        self._begun: set[str] = set()
        self._lost: Counter[str] = Counter()

    def seconds_left(self) -> float | None:
        """Returns the seconds left of the session's time budget; None without one."""
        budget = self.sweep.limits.time_budget_s
        return None if budget is None else max(0.1, budget - self.sweep.elapsed_s())

    def outcome(self) -> Outcome:
        """Ends the session, of which nothing runs any more, and returns how it ended."""
        budget = self.sweep.limits.time_budget_s
        if budget is not None and self.sweep.elapsed_s() >= budget:
            self.reason = self.reason or "the time budget is spent"
        if self._trials_are_up():
            self.reason = self.reason or f"{counted(len(self._begun), 'trial')} started (--trials)"
        return Outcome(
            interrupted=bool(self.running) or self._queue.ledger.outstanding() > 0,
            reason=self.reason,
        )

    def _trials_are_up(self) -> bool:
        return self.sweep.limits.trials is not None and len(self._begun) >= self.sweep.limits.trials

    def next(self) -> PlannedTrial | None:
        """Returns the next trial to start; None where nothing can start now, see `over`."""
        if self.over():
            return None
        trial = self._queue.next(self._ahead.is_there)
        if trial is not None:
            self.running[trial.key] = trial
            self._begun.add(trial.key)
        return trial

    def next_ahead(self) -> PlannedTrial | None:
        """Returns the next trial whose shared work is to be built; None where none is to be now."""
        return None if self.over() else self._ahead.next(self._queue.waiting())

    def under_way(self) -> int:
        """Returns how many trials run, or have their shared work built."""
        return len(self.running) + self._ahead.under_way()

    def over(self) -> bool:
        """Reports whether this session starts no more trials."""
        if self._replica.taken_over:
            self.reason = self.reason or TAKEN_OVER
        return bool(self.reason) or self._trials_are_up() or self._queue.is_over()

    def order(self, trial: PlannedTrial, *, ahead: bool = False) -> TrialOrder:
        """Returns what a process needs to run the trial, or to build its shared work `ahead`."""
        # an earlier attempt may have left a mark, and this one run on another node
        heartbeat.forget_silence(self.plan.trial_folder(trial))
        return TrialOrder(
            key=trial.key,
            config=to_dict(trial.config),
            folder=self._path(self.plan.trial_folder(trial)),
            cache=self._path(self.plan.cache),
            address=self._address,
            trainer=resources.uses_trainer(self.plan.launch) and not ahead,
            workers=self.plan.launch.workers,
            gpus=self.plan.launch.gpus_per_trial,
            ahead=ahead,
        )

    def _path(self, path: Path) -> str:
        """Returns a path as each node finds it: below the storage where that has an address."""
        return str(path.relative_to(self.plan.storage) if self._address else path.absolute())

    def started(self, key: str) -> None:
        """Takes in that a process began the trial, or its shared work."""
        if trial := self.running.get(key):
            self._queue.began(trial)
            self._tell(lambda listener: listener.started(trial))

    def reported(self, key: str, metrics: dict[str, float]) -> None:
        """Takes in a report of the trial."""
        self._tell(lambda listener: listener.reported(self.running[key], metrics))

    def halt(self, key: str) -> bool:
        """Returns whether the trial may be stopped early: it then counts as pruned at its end."""
        if not self._queue.ledger.was_finished(self.running[key]):  # else its figures would go
            self._halted.add(key)
        return key in self._halted

    def ended(
        self, key: str, failure: Failure | None, last: dict[str, float] | None = None
    ) -> None:
        """Takes in the end of the process of the trial, or of what built its shared work.

        A trial ended by its result file or its failure. An end that cannot be recorded stops the
        session and leaves the trial outstanding.

        Args:
            key: the trial's.
            failure: why it failed; None where it did not.
            last: its last report, where there is one.
        """
        if self._ahead.ended(key):
            return
        trial = self.running[key]
        try:
            event = self._record(trial, failure, last)
        except OSError as error:
            self.reason = self.reason or file_fault(error)
            event = _put_back(trial, Cause.DISK, self.reason)
        del self.running[key]
        self._tell(event)

    def _record(
        self, trial: PlannedTrial, failure: Failure | None, last: dict[str, float] | None
    ) -> Event:
        """Records how a trial ended; returns what the listeners are told.

        Raises:
            OSError: it cannot be recorded.
        """
        if trial.key in self._halted and last:
            return self._pruned(trial, last)
        folder = self.plan.trial_folder(trial)
        if failure is not None and heartbeat.fell_silent(folder):
            silent = f"a process gave no sign of life for {heartbeat.LOST_AFTER_S:.0f} s"
            failure = Failure(cause=Cause.WORKER_LOST, message=f"{silent} and was killed")
        result = failure or self._fetch(folder)
        if isinstance(result, Failure):
            return self._failed(trial, result)
        if not self._queue.finish(trial, result):
            message = "the objective is not a finite number"
            return lambda listener: listener.failed(trial, Cause.NON_FINITE, message)
        reuse.enter(self.plan, trial, self._replica)
        return lambda listener: listener.finished(trial, result)

    def _pruned(self, trial: PlannedTrial, metrics: dict[str, float]) -> Event:
        """Ends a trial that was stopped early; its files stay, but for what it would go on from."""
        self._queue.prune(trial, metrics)
        self._halted.discard(trial.key)
        (self.plan.trial_folder(trial) / SNAPSHOT).unlink(missing_ok=True)
        self._replica.remove_file(trial, SNAPSHOT)
        return lambda listener: listener.pruned(trial, metrics)

    def _fetch(self, folder: Path) -> dict[str, Any] | Failure:
        """Copies a trial's files to this machine; returns its result, or why there is none.

        Raises:
            OSError: a fault of this machine's disk, which says nothing about the trial.
        """
        try:
            self._replica.pull_trial(folder, waits=not self.reason)
        except UserError as error:
            return diagnose(error)
        try:
            return read_result(folder)
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            return Failure(cause=Cause.CRASH, message=f"no result: {error}")

    def _failed(self, trial: PlannedTrial, failure: Failure) -> Event:
        """Leaves the trial outstanding, or ends it, as the cause of its failure has it."""
        cause, message = failure.cause, failure.message
        then, most = CAUSES[cause].then, self.sweep.limits.max_failures
        if then == "stop":
            self._queue.put_back(trial)
            full = f"the disk is full ({message}): free some room"
            self.reason = full if cause is Cause.DISK else message
            return _put_back(trial, cause, message)
        if then == "retry" and self._lost[trial.key] < most:
            lost = self._lost[trial.key] = self._lost[trial.key] + 1
            self._queue.put_back(trial)
            self._begun.discard(trial.key)
            return lambda listener: listener.retried(trial, cause, message, lost, most)
        self._queue.fail(trial, cause, message)
        return lambda listener: listener.failed(trial, cause, message)

    def _tell(self, event: Event) -> None:
        for listener in self.sweep.listeners:
            event(listener)


def _put_back(trial: PlannedTrial, cause: Cause, message: str) -> Event:
    return lambda listener: listener.put_back(trial, cause, message)
