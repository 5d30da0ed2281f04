"""Keeps which trials of a sweep ended and how, in an Optuna storage in the sweep's folder.

The storage holds one Optuna study a group. A trial is written once, when it ends, with its result
or the cause of its failure: nothing can be left half done there, and a trial that is not there is
outstanding. So is one that has ended and was asked for once more, which is an entry of its own.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import optuna
import sqlalchemy.exc

from platform.plan.plan import Group, Plan, PlannedTrial
from platform.plan.serialization import plan_digest
from platform.search.proposals import Proposals
from platform.search.samplers import DIRECTIONS
from platform.search.studies import Studies
from platform.search.trial_record import Entry, from_optuna, sealed, to_optuna, unsealed_place
from trainables.utils.errors import UserError
from trainables.utils.files import replacing
from trainables.utils.text import one_line

FILE = "ledger.db"
_PLAN = "plan"  # the attribute of each study that holds the digest of its plan
_UNREADABLE = (
    sqlalchemy.exc.SQLAlchemyError,
    optuna.exceptions.OptunaError,
    LookupError,
    ValueError,
    TypeError,
    RuntimeError,
)
# what SQLite says of a whole ledger that it cannot reach: another process holds it, or its disk
# fails; the last eight bits of an error's code
_OUT_OF_REACH = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
)


class LedgerError(UserError):
    """A ledger that is missing, damaged, or another sweep's."""


class Ledger:
    """The trials of a sweep, and how those that have ended did so. One process writes it.

    Args:
        plan: the sweep.
        studies: one Optuna study a group, by the group's name, with all that is written so far.

    Raises:
        KeyError, TypeError, ValueError: the studies hold what no ledger wrote.
    """

    def __init__(self, plan: Plan, studies: Studies) -> None:
        self.plan = plan
        self._studies = studies
        self._groups = {group.name: group for group in plan.groups}
        self._trials: dict[str, PlannedTrial] = {}
        self._ended: dict[str, Entry] = {}
        self._finished: set[str] = set()
        # the trials of a group that decide what is proposed next: all but replicates
        self._deciding: dict[str, list[PlannedTrial]] = {name: [] for name in self._groups}
        self._proposals = Proposals(plan, studies)
        self._proposing = list(plan.groups)
        for trial in plan.trials:
            self._add(trial)
        self._written = self._read()
        for group in plan.groups:
            self._propose(group)

    @classmethod
    def create(cls, plan: Plan) -> Ledger:
        """Makes a new ledger in the plan's folder, which must exist.

        Raises:
            LedgerError: the folder holds one.
            OSError: it cannot be written.
        """
        path = plan.folder / FILE
        if path.exists():
            raise LedgerError(f"{path} exists already: --resume goes on with it")
        digest = plan_digest(plan)
        with replacing(path) as beside, _writing(path):
            names = [group.name for group in plan.groups]
            Studies.create(beside, names, DIRECTIONS[plan.search.goal], {_PLAN: digest})
        return cls._open(plan, digest)

    @classmethod
    def open(cls, plan: Plan) -> Ledger:
        """Opens the ledger in the plan's folder.

        Raises:
            LedgerError: it is missing, damaged, or another plan's.
            OSError: another process holds it, or its disk fails.
        """
        return cls._open(plan, plan_digest(plan))

    @classmethod
    def _open(cls, plan: Plan, digest: str) -> Ledger:
        path = plan.folder / FILE
        if not path.is_file():
            raise LedgerError(f"{path} is missing: nothing says which trials are done")
        try:
            studies = Studies(path)
            if any(studies.attributes(group.name).get(_PLAN) != digest for group in plan.groups):
                raise LedgerError(f"{path} is another plan's ledger")
            return cls(plan, studies)
        except _UNREADABLE as error:
            fault = _sqlite_error(error)
            if getattr(fault, "sqlite_errorcode", 0) & 0xFF in _OUT_OF_REACH:
                raise OSError(f"{path} cannot be read ({fault})") from error
            raise LedgerError(f"{path} is damaged or no ledger: {one_line(error, 160)}") from error

    def write(self, entry: Entry) -> list[PlannedTrial]:
        """Records how a trial ended, unless it has finished already.

        Returns:
            The trials that are proposed now that it has ended.

        Raises:
            OSError: the ledger cannot be written. Where only the next proposals could not be, the
                trial has ended all the same; else it is outstanding.
        """
        before = self._ended.get(entry.trial.key)
        if before is not None and before.state == "finished":
            return []
        group = self._groups[entry.trial.group_name]
        self._append(entry)
        return self._propose(group)

    def reopen_failed(self) -> list[PlannedTrial]:
        """Makes the failed trials outstanding, as `reopen` does; returns them."""
        failed = [entry.trial for entry in self._ended.values() if entry.state == "failed"]
        self.reopen(failed)
        return failed

    def reopen(self, trials: Iterable[PlannedTrial]) -> None:
        """Makes trials that have ended outstanding, in the file too.

        Raises:
            OSError: the ledger cannot be written; some of them may be outstanding by now.
        """
        for trial in trials:
            self._append(Entry(trial=trial, state="interrupted"))

    def was_finished(self, trial: PlannedTrial) -> bool:
        """Reports whether a trial has finished, even where it is to run once more."""
        return trial.key in self._finished

    def open_trials(self) -> list[PlannedTrial]:
        """Returns the known trials that have not ended, in the order of `entries`."""
        return [trial for key, trial in self._trials.items() if key not in self._ended]

    def unproposed(self) -> int:
        """Returns how many trials may still be proposed."""
        # asked at every event, and most groups of a large sweep propose nothing
        self._proposing = [group for group in self._proposing if self._proposals.left(group)]
        return sum(map(self._proposals.left, self._proposing))

    def total(self) -> int:
        """Returns how many trials there are, those that may still be proposed among them."""
        return len(self._trials) + self.unproposed()

    def outstanding(self) -> int:
        """Returns how many trials have not ended, those that may still be proposed among them."""
        return self.total() - len(self._ended)

    def counts(self) -> dict[str, int]:
        """Returns how many trials are `finished`, `failed`, `pruned` and `outstanding`."""
        states = Counter(entry.state for entry in self._ended.values())
        return {
            **{state: states[state] for state in ("finished", "failed", "pruned")},
            "outstanding": self.outstanding(),
        }

    def entries(self) -> list[Entry]:
        """Returns how every known trial stands, in the order of the plan, then as proposed."""
        return [
            self._ended.get(key, Entry(trial=trial, state="interrupted"))
            for key, trial in self._trials.items()
        ]

    def _append(self, entry: Entry) -> None:
        """Writes an entry, then takes it up."""
        group = self._groups[entry.trial.group_name]
        frozen = sealed(to_optuna(entry, group, self.plan.search), self._written)
        with _writing(self.plan.folder / FILE):
            self._studies[group.name].add_trial(frozen)
        self._written += 1
        self._take_up(entry)

    def _take_up(self, entry: Entry) -> None:
        """Lets an entry stand in place of the trial's earlier ones."""
        if entry.state == "interrupted":  # it had ended, and is to run once more
            self._ended.pop(entry.trial.key, None)
        else:
            self._ended[entry.trial.key] = entry
        if entry.state == "finished":
            self._finished.add(entry.trial.key)

    def _add(self, trial: PlannedTrial) -> bool:
        """Takes in a trial; returns False where one of its key is known: they are one trial."""
        if trial.key in self._trials:
            return False
        self._trials[trial.key] = trial
        if trial.kind != "replicate":
            self._deciding[trial.group_name].append(trial)
        return True

    def _read(self) -> int:
        """Takes up what the file holds; returns how many entries it has."""
        for group in self.plan.groups:
            for trial in self._proposals.kept(group, self._trials):
                self._add(trial)
        written = [
            (unsealed_place(frozen), from_optuna(frozen, self._trials))
            for frozen in self._studies.trials()
        ]
        written.sort(key=lambda pair: pair[0])
        if [place for place, _ in written] != list(range(len(written))):
            raise ValueError("entries are missing")
        for _, entry in written:
            self._take_up(entry)
        return len(written)

    def _propose(self, group: Group) -> list[PlannedTrial]:
        """Adds the next trials of a group once all that they follow from have ended."""
        added: list[PlannedTrial] = []
        deciding = self._deciding[group.name]
        while self._proposals.left(group) and all(t.key in self._ended for t in deciding):
            ended = [self._ended[trial.key] for trial in deciding]
            with _writing(self.plan.folder / FILE):
                proposed = self._proposals.next(group, ended)
            added += [trial for trial in proposed if self._add(trial)]
        return added


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Tells in one line why the ledger cannot be written; what is not written leaves no trace.

    Raises:
        OSError: another process holds it, or its disk fails.
    """
    try:
        yield
    except (
        sqlite3.Error,
        sqlalchemy.exc.SQLAlchemyError,
        optuna.exceptions.StorageInternalError,
    ) as error:
        why = one_line(_sqlite_error(error) or error, 160)
        raise OSError(f"{path} cannot be written ({why})") from error


def _sqlite_error(error: BaseException | None) -> sqlite3.Error | None:
    """Returns the error of SQLite that an error of Optuna's storage came from."""
    while error is not None and not isinstance(error, sqlite3.Error):
        error = error.__cause__
    return error
