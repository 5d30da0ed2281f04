"""Says how a trial of a sweep ended, and converts that to what Optuna keeps and back."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from platform.plan.plan import Group, PlannedTrial
from platform.search.samplers import generation_of
from platform.storage.ranking import is_feasible, rank
from platform.storage.results import State
from search_spaces.study import SearchConfig
from trainables.utils.hashing import SEAL, digest

_FAR = 1e6  # the objectives are logarithms
_STATED: dict[TrialState, tuple[State, ...]] = {
    TrialState.COMPLETE: ("finished", "pruned"),
    TrialState.FAIL: ("failed", "interrupted"),
}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """How a trial stands.

    Attributes:
        trial: the trial.
        state: `interrupted` where it has not ended, whether it had begun or not; `pruned` where
            it was stopped early, as it lay behind others of its variant.
        result: its `result.json`; for a pruned trial its last metrics and their `step`; else empty.
        cause: why it failed, in a word or two; empty unless it did.
        message: the error in a line; empty unless it failed.
        duration_s: seconds from its start to its end; 0 where it has not ended.
    """

    trial: PlannedTrial
    state: State
    result: Mapping[str, Any] = field(default_factory=dict)
    cause: str = ""
    message: str = ""
    duration_s: float = 0.0

    @property
    def objective(self) -> float:
        """log(validation forget FD / the original's): higher is better."""
        return float(self.result["metrics"]["val/objective"])

    @property
    def violation(self) -> float:
        """log(validation retain FD / the highest allowed): feasible at 0 or below."""
        return float(self.result["metrics"]["val/violation"])

    @property
    def feasible(self) -> bool:
        """Whether the trial kept its retain images."""
        return is_feasible(self.violation)

    @property
    def rank(self) -> tuple[bool, float]:
        """The key that orders finished trials, the best one highest."""
        return rank(self.objective, self.violation)

    @property
    def forget_ratio(self) -> float:
        """Validation forget FD over the original's."""
        return math.exp(self.objective)

    @property
    def retain_ratio(self) -> float:
        """Validation retain FD over the original's."""
        return math.exp(self.violation) * (1.0 + self.trial.config.evaluation.retain_tolerance)


def score(metrics: Mapping[str, Any]) -> float:
    """Returns the rank of a report as one number: any feasible one above any that is not.

    Args:
        metrics: with `val/objective` and `val/violation`.
    """
    feasible, value = rank(float(metrics["val/objective"]), float(metrics["val/violation"]))
    return value if feasible else value - _FAR


def to_optuna(entry: Entry, group: Group, search: SearchConfig) -> FrozenTrial:
    """Returns a trial as Optuna keeps it; a pruned one has its last reported figures.

    Args:
        entry: how the trial ended; `interrupted` where it is to run once more.
        group: the group that the trial belongs to.
        search: the sampler and the goal.
    """
    trial, measured = entry.trial, entry.state in ("finished", "pruned")
    attributes = {
        "key": trial.key,
        "name": trial.name,
        "kind": trial.kind,
        "number": trial.number,
        "state": entry.state,
        "duration_s": entry.duration_s,
        **({"result": entry.result} if measured else {}),
        **({} if measured else {"cause": entry.cause, "message": entry.message}),
    }
    values: dict[str, Any] = {
        "state": TrialState.COMPLETE if measured else TrialState.FAIL,
        "values": _values(entry, search) if measured else None,
        "user_attrs": attributes,
    }
    if measured and search.goal == "feasible":
        values["constraints"] = {"retain": entry.violation}
    if search.sampler == "nsga2":
        number = trial.number if trial.kind == "search" else 0
        values["system_attrs"] = generation_of(number, search)
    try:
        frozen = create_trial(params=trial.params, distributions=group.space, **values)
    except ValueError:  # a default outside of what is searched teaches the search nothing
        frozen = create_trial(**values)
    if frozen.datetime_complete is not None:
        seconds = datetime.timedelta(seconds=entry.duration_s)
        frozen.datetime_start = frozen.datetime_complete - seconds
    return frozen


def _values(entry: Entry, search: SearchConfig) -> list[float]:
    """Returns a value for each direction: the retain distance where it counts, the objective."""
    if search.goal == "feasible":
        return [entry.objective]
    return [math.log(entry.retain_ratio), entry.objective]


def sealed(frozen: FrozenTrial, place: int) -> FrozenTrial:
    """Returns the trial with its place in the ledger and the digest of all that it holds."""
    frozen.set_user_attr("place", place)
    frozen.set_user_attr(SEAL, digest(_substance(frozen)))
    return frozen


def unsealed_place(frozen: FrozenTrial) -> int:
    """Returns the place that `sealed` gave a trial.

    Raises:
        ValueError: the trial is not what was sealed.
    """
    if frozen.user_attrs.get(SEAL) != digest(_substance(frozen)):
        raise ValueError(f"trial {frozen.number} is not what was written")
    return int(frozen.user_attrs["place"])


def _substance(frozen: FrozenTrial) -> dict[str, Any]:
    attributes = {name: each for name, each in frozen.user_attrs.items() if name != SEAL}
    return {"state": frozen.state.name, "values": frozen.values, "attributes": attributes}


def from_optuna(frozen: FrozenTrial, known: Mapping[str, PlannedTrial]) -> Entry:
    """Returns how a trial stands from what `to_optuna` made.

    Args:
        frozen: the trial as Optuna keeps it.
        known: the sweep's trials by their keys.

    Raises:
        KeyError, TypeError, ValueError: it is no trial of the sweep, or not as `to_optuna` made it.
    """
    attributes = frozen.user_attrs
    measured = frozen.state == TrialState.COMPLETE
    entry = Entry(
        trial=known[attributes["key"]],
        state=_stated(frozen),
        result=attributes["result"] if measured else {},
        cause="" if measured else attributes["cause"],
        message="" if measured else attributes["message"],
        duration_s=float(attributes["duration_s"]),
    )
    if measured:
        _check_figures(entry, frozen.values)
    return entry


def _check_figures(entry: Entry, values: Sequence[float]) -> None:
    """Refuses a measured trial whose result is not its own, not whole, or not what Optuna holds.

    The seal is a digest and no signature: whoever alters an entry can seal it anew.

    Raises:
        KeyError, TypeError, ValueError: the result lacks a part, or disagrees.
    """
    parts = ("metrics", "timing") if entry.state == "finished" else ("metrics",)
    whole = all(isinstance(entry.result[part], Mapping) for part in parts)
    own = entry.result["trial_key"] == entry.trial.key
    # the objective is the last of the values, whatever the goal; NaN equals nothing
    if not (whole and own and values[-1] == entry.objective and math.isfinite(entry.violation)):
        raise ValueError(f"the result of trial {entry.trial.name} is not what it was measured by")


def _stated(frozen: FrozenTrial) -> State:
    state: State = frozen.user_attrs["state"]
    if state not in _STATED.get(frozen.state, ()):
        raise ValueError(f"trial {frozen.number} is {frozen.state.name} and {state!r}")
    return state
