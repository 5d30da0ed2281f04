"""Decides which shared work is built before the trials that need it start. Knows no Ray.

What the trials need that are known when a session begins is built then. Trials that a search
proposes later may need more, such as another original; until that is there, they do not start.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trainables.shared.keys import shared_work_keys

if TYPE_CHECKING:
    from platform.plan.plan import PlannedTrial

Pieces = frozenset[tuple[str, str]]


class WorkAhead:
    """Knows which shared work is there, and for which trials some is being built.

    Args:
        trials: those whose shared work is there.
    """

    def __init__(self, trials: Iterable[PlannedTrial]) -> None:
        self._needs: dict[str, Pieces] = {}
        self._there: set[tuple[str, str]] = set()
        self._building: dict[str, Pieces] = {}
        for trial in trials:
            self._there |= self._needed(trial)

    def under_way(self) -> int:
        """Returns for how many trials some is being built."""
        return len(self._building)

    def is_there(self, trial: PlannedTrial) -> bool:
        """Reports whether all that a trial needs is there."""
        return self._needed(trial) <= self._there

    def next(self, waiting: Iterable[PlannedTrial]) -> PlannedTrial | None:
        """Returns the first trial that lacks work of which nothing is being built, and counts it.

        Args:
            waiting: the trials that have not started, in their order.
        """
        busy = frozenset[tuple[str, str]]().union(*self._building.values())
        for trial in waiting:
            lacking = self._needed(trial) - self._there
            if lacking and not lacking & busy:
                self._building[trial.key] = lacking
                return trial
        return None

    def ended(self, key: str) -> bool:
        """Takes in that the building for a trial ended; returns False where there was none."""
        if key not in self._building:
            return False
        # where it failed, each trial that needs it meets that again, and fails alone by its name
        self._there |= self._building.pop(key)
        return True

    def _needed(self, trial: PlannedTrial) -> Pieces:
        if trial.key not in self._needs:
            self._needs[trial.key] = frozenset(shared_work_keys(trial.config).items())
        return self._needs[trial.key]
