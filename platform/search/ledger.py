"""Which trials are done: the truth about a sweep, in an Optuna storage in the sweep's folder.

One Optuna study a group. A trial is written once, when it ends, with its result or the cause of its
failure: nothing can be left half done there, and whatever is not there is outstanding.
"""

from __future__ import annotations

import functools
import math
import sqlite3
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.storages import RDBStorage

from platform.plan.plan import Group, Plan, PlannedTrial
from platform.plan.serialization import plan_digest
from platform.search.proposals import Proposals
from platform.search.samplers import DIRECTIONS
from platform.search.trial_record import Entry, from_optuna, sealed, to_optuna, unsealed_place
from trainables.utils.errors import UserError
from trainables.utils.files import replacing
from trainables.utils.hashing import read_sealed
from trainables.utils.text import one_line

FILE = "ledger.db"
_UNREADABLE = (
    sqlalchemy.exc.SQLAlchemyError,
    optuna.exceptions.OptunaError,
    LookupError,
    ValueError,
    TypeError,
    RuntimeError,
)


class LedgerError(UserError):
    """A ledger that is missing, damaged, or another sweep's."""


class Ledger:
    """Hands out trials, and keeps how each ended.

    One process writes it. A pickled ledger is opened again from its file.

    Args:
        plan: the sweep.
        studies: one Optuna study a group, by the group's name.
    """

    def __init__(self, plan: Plan, studies: Mapping[str, optuna.Study]) -> None:
        self.plan = plan
        self._studies = studies
        self._groups = {group.name: group for group in plan.groups}
        self._known: dict[str, PlannedTrial] = {}
        self._ended: dict[str, Entry] = {}
        self._running: dict[str, float] = {}
        self._queue: deque[PlannedTrial] = deque()
        self._open: Counter[str] = Counter()
        self._proposals = Proposals(plan, studies)
        self._written = 0
        for trial in plan.trials:
            self._add(trial)
        self._read()

    @classmethod
    def create(cls, plan: Plan) -> Ledger:
        """A new ledger in the plan's folder, which must exist.

        Raises:
            LedgerError: the folder holds one.
        """
        path = plan.folder / FILE
        if path.exists():
            raise LedgerError(f"{path} exists already: --resume goes on with it")
        digest = plan_digest(plan)
        with replacing(path) as beside:
            storage = _storage(beside, new=True)
            for group in plan.groups:
                study = optuna.create_study(
                    storage=storage, study_name=group.name, directions=DIRECTIONS[plan.search.goal]
                )
                study.set_user_attr("plan", digest)
            storage.remove_session()
            storage.engine.dispose()
        return cls.open(plan)

    @classmethod
    def open(cls, plan: Plan) -> Ledger:
        """The ledger in the plan's folder.

        Raises:
            LedgerError: it is missing, damaged, or another plan's.
        """
        path = plan.folder / FILE
        if not path.is_file():
            raise LedgerError(f"{path} is missing: nothing says which trials are done")
        try:
            storage = _storage(path)
            studies = {
                group.name: optuna.load_study(study_name=group.name, storage=storage)
                for group in plan.groups
            }
            digest = plan_digest(plan)
            if any(study.user_attrs.get("plan") != digest for study in studies.values()):
                raise LedgerError(f"{path} is another plan's ledger")
            return cls(plan, studies)
        except _UNREADABLE as error:
            raise LedgerError(f"{path} is damaged or no ledger: {one_line(error, 160)}") from error

    def __reduce__(self) -> tuple[Callable[[Plan], Ledger], tuple[Plan]]:
        return Ledger.open, (self.plan,)

    def next(self) -> PlannedTrial | None:
        """The next trial to run; None where nothing can start now, see `waiting`."""
        if not self._queue:
            return None
        trial = self._queue.popleft()
        self._running[trial.key] = time.monotonic()
        return trial

    def began(self, trial: PlannedTrial) -> None:
        """A trial that was handed out has found room: its time counts from now."""
        self._running[trial.key] = time.monotonic()

    def ready(self) -> bool:
        """Whether a trial can start now."""
        return bool(self._queue)

    def waiting(self) -> bool:
        """Whether more trials come once those under way have ended."""
        return not self._queue and self._unproposed() > 0

    def outstanding(self) -> int:
        """How many trials have not ended."""
        return len(self._known) - len(self._ended) + self._unproposed()

    def total(self) -> int:
        """How many trials there are, those that may still be proposed among them."""
        return len(self._known) + self._unproposed()

    def counts(self) -> dict[str, int]:
        """How many trials are `finished`, `failed`, `pruned`, `running` and `outstanding`."""
        states = Counter(entry.state for entry in self._ended.values())
        return {
            **{state: states[state] for state in ("finished", "failed", "pruned")},
            "running": len(self._running),
            "outstanding": self.outstanding(),
        }

    def finish(self, trial: PlannedTrial, result: Mapping[str, Any]) -> bool:
        """Records a finished trial.

        Args:
            trial: the trial.
            result: its `result.json`.

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
        seconds = self._seconds(trial) or float(result.get("timing", {}).get("total_s", 0.0))
        self._end(Entry(trial=trial, state="finished", result=dict(result), duration_s=seconds))
        return True

    def fail(self, trial: PlannedTrial, cause: str, message: str) -> None:
        """Records a failed trial.

        Args:
            trial: the trial.
            cause: a word or two, such as `non-finite`.
            message: the error in a line.
        """
        seconds = self._seconds(trial)
        entry = Entry(trial=trial, state="failed", cause=cause, message=message, duration_s=seconds)
        self._end(entry)

    def prune(self, trial: PlannedTrial, metrics: Mapping[str, float]) -> None:
        """Records a trial that was stopped early.

        Args:
            trial: the trial.
            metrics: its last report, with `step`, `val/objective` and `val/violation`.
        """
        result = {"trial_key": trial.key, "metrics": dict(metrics)}
        entry = Entry(trial=trial, state="pruned", result=result, duration_s=self._seconds(trial))
        self._end(entry)

    def put_back(self, trial: PlannedTrial) -> None:
        """An attempt was lost: the trial is outstanding again, after all that wait."""
        self._running.pop(trial.key, None)
        self._queue.append(trial)

    def retry_failed(self) -> list[PlannedTrial]:
        """Makes the failed trials outstanding, until they end again; returns them."""
        again = [each.trial for each in self._ended.values() if each.state == "failed"]
        for trial in again:
            del self._ended[trial.key]
            self._open[trial.group_name] += _is_told(trial)
            self._queue.append(trial)
        return again

    def interrupt(self) -> None:
        """Puts the trials that are under way back, in the order of their start."""
        self._queue.extendleft(self._known[key] for key in reversed(self._running))
        self._running.clear()

    def recover(self) -> list[PlannedTrial]:
        """Takes in trials that left their result before anyone recorded it; returns them.

        Raises:
            LedgerError: a result that was altered. It was written in one step, so that no kill can
                have left it so.
        """
        taken = []
        for trial in list(self._queue):
            path = self.plan.trial_folder(trial) / "result.json"
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
        """As `finish`, of an outstanding trial whose result is there without its being run."""
        self._queue.remove(trial)
        return self.finish(trial, result)

    def queued(self) -> tuple[PlannedTrial, ...]:
        """The trials that can start now, in their order."""
        return tuple(self._queue)

    def entries(self) -> list[Entry]:
        """How every known trial stands, in the order of the plan, then as TPE proposed them."""
        return [
            self._ended.get(key, Entry(trial=trial, state="interrupted"))
            for key, trial in self._known.items()
        ]

    def best(self, label: str | None = None) -> Entry | None:
        """The best finished trial, of a variant or of all.

        The feasible one of the highest objective; where none is feasible, that of the least
        violation. The original is never best, as it forgets nothing, nor is a retrained model.
        """
        finished = [
            entry
            for entry in self._ended.values()
            if entry.state == "finished"
            and label in (None, entry.trial.group)
            and (label is not None or entry.trial.config.unlearns)
        ]
        return max(finished, key=lambda entry: entry.rank, default=None)

    def _seconds(self, trial: PlannedTrial) -> float:
        began = self._running.pop(trial.key, None)
        return 0.0 if began is None else time.monotonic() - began

    def _end(self, entry: Entry) -> None:
        before = self._ended.get(entry.trial.key)
        if before is not None and before.state == "finished":
            return
        group = self._groups[entry.trial.group_name]
        frozen = sealed(to_optuna(entry, group, self.plan.search), self._written)
        self._studies[group.name].add_trial(frozen)
        self._written += 1
        self._remember(entry)
        self._propose(group)

    def _remember(self, entry: Entry) -> None:
        if entry.trial.key not in self._ended:
            self._open[entry.trial.group_name] -= _is_told(entry.trial)
        self._ended[entry.trial.key] = entry

    def _add(self, trial: PlannedTrial) -> None:
        """Trials of equal keys are one trial."""
        if trial.key not in self._known:
            self._known[trial.key] = trial
            self._open[trial.group_name] += _is_told(trial)
            self._queue.append(trial)

    def _read(self) -> None:
        """Takes up what the file holds."""
        for name in self._studies:
            for trial in self._proposals.kept(self._groups[name], self._known):
                self._add(trial)
        written = [
            (unsealed_place(frozen), from_optuna(frozen, self._known))
            for study in self._studies.values()
            for frozen in study.get_trials(deepcopy=False)
        ]
        written.sort(key=lambda pair: pair[0])
        if [place for place, _ in written] != list(range(len(written))):
            raise ValueError("entries are missing")
        self._written = len(written)
        for _, entry in written:
            self._remember(entry)
        self._queue = deque(t for t in self._queue if t.key not in self._ended)
        for group in self._groups.values():
            self._propose(group)

    def _unproposed(self) -> int:
        return sum(map(self._proposals.left, self.plan.groups))

    def _propose(self, group: Group) -> None:
        """Asks for the next trials of a group once all that they follow from have ended."""
        while self._proposals.left(group) and not self._open[group.name]:
            ended = [e for e in self._ended.values() if e.trial.group_name == group.name]
            for trial in self._proposals.next(group, ended):
                self._add(trial)


def _is_told(trial: PlannedTrial) -> bool:
    """Whether what is proposed next depends on the trial."""
    return trial.kind != "replicate"


def _is_of(trial: PlannedTrial, result: Any) -> bool:
    """Whether a file holds this trial's result, whole."""
    same = isinstance(result, dict) and result.get("trial_key") == trial.key
    return same and all(isinstance(result.get(part), dict) for part in ("metrics", "timing"))


def _storage(path: Path, *, new: bool = False) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # connected by path: in an address, "?", "%" and braces of a folder's name mean something else
    connect = functools.partial(sqlite3.connect, path.resolve())
    engine: dict[str, Any] = {"creator": connect}
    # a table that a damaged ledger lacks is not made anew: it would read as nothing done
    return RDBStorage(f"sqlite:///{FILE}", engine_kwargs=engine, skip_table_creation=not new)
