"""Decides what a group's search runs next, and keeps that in its Optuna study before it runs.

So a resumed sweep runs the same trials, whatever results came later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from platform.plan.build import replicate, search_trial
from platform.plan.plan import Group, Plan, PlannedTrial
from platform.search.samplers import propose_points
from platform.search.studies import Studies
from platform.search.trial_record import Entry, to_optuna
from trainables.utils.hashing import seal, unseal

_CHOSEN = "chosen"


class Proposals:
    """Proposes points after the Sobol ones, generation by generation, then replicates of the best.

    Args:
        plan: the sweep.
        studies: one Optuna study a group, by the group's name.
    """

    def __init__(self, plan: Plan, studies: Studies) -> None:
        self._plan = plan
        self._studies = studies
        self._proposed: Counter[str] = Counter()
        self._chosen: set[str] = set()

    def kept(self, group: Group, known: Mapping[str, PlannedTrial]) -> list[PlannedTrial]:
        """Returns all that earlier sessions proposed, in their order.

        Args:
            group: whose trials.
            known: the trials of the plan, by their keys.

        Raises:
            KeyError, TypeError, ValueError: the study does not hold what was written.
        """
        attributes = self._studies.attributes(group.name)
        found: list[PlannedTrial] = []
        while (generation := attributes.get(self._generation(group))) is not None:
            found += self._points(group, unseal(generation)["points"])
        if _CHOSEN in attributes:
            key = unseal(attributes[_CHOSEN])["key"]
            self._chosen.add(group.name)
            every = {**known, **{trial.key: trial for trial in found}}
            found += self._replicates(group, every[key]) if key else []
        return found

    def left(self, group: Group) -> int:
        """Returns how many trials at most are still to be proposed."""
        replicates = 0 if group.name in self._chosen else group.replicates
        return self._searched_later(group) + replicates

    def next(self, group: Group, ended: Iterable[Entry]) -> list[PlannedTrial]:
        """Returns the next trials, once all before them have ended; `left` falls with every call.

        Args:
            group: whose trials.
            ended: how all of its trials but replicates have ended, in any order.
        """
        told = sorted(ended, key=lambda entry: (entry.trial.number, entry.trial.name))
        study = self._studies[group.name]
        if not self._searched_later(group):
            finished = [entry for entry in told if entry.state == "finished"]
            best = max(finished, key=lambda entry: entry.rank, default=None)
            chosen = None if best is None else best.trial
            study.set_user_attr(_CHOSEN, seal({"key": chosen.key if chosen else None}))
            self._chosen.add(group.name)
            return self._replicates(group, chosen) if chosen else []
        search = self._plan.search
        points = propose_points(
            group.space,
            [to_optuna(e, group, search) for e in told if e.state in ("finished", "pruned")],
            min(search.generation, self._searched_later(group)),
            (self._plan.seed, group.name, self._proposed[group.name]),
            search,
        )
        study.set_user_attr(self._generation(group), seal({"points": points}))
        return self._points(group, points)

    def _searched_later(self, group: Group) -> int:
        sobol = self._plan.search.sobol_trials
        return max(0, group.trials - sobol - self._proposed[group.name])

    def _generation(self, group: Group) -> str:
        """Returns the name under which the next proposals of a group are kept."""
        return f"proposed after {self._proposed[group.name]}"

    def _points(self, group: Group, points: Iterable[Mapping[str, Any]]) -> list[PlannedTrial]:
        first = self._plan.search.sobol_trials + self._proposed[group.name] + 1
        trials = [search_trial(group, number, point) for number, point in enumerate(points, first)]
        self._proposed[group.name] += len(trials)
        return trials

    def _replicates(self, group: Group, chosen: PlannedTrial) -> list[PlannedTrial]:
        return [replicate(chosen, number) for number in range(1, group.replicates + 1)]
