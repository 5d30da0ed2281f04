"""Finds settings that no trial of a plan reads, which would else be ignored in silence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from platform.plan.grid import searched_configs
from platform.plan.overrides import Overrides, family_of, parse_overrides
from platform.plan.plan import Group, Plan
from search_spaces.study import SearchConfig, Study
from trainables.config import TrialConfig
from trainables.config.overrides import apply_overrides
from trainables.config.readers import shown, unread
from trainables.utils.errors import ConfigError

_NO_TRIALS = "every search has 0 trials"
_NOTHING_SEARCHED = "no field is searched: the study has none, or all are pinned or enumerated"


def unread_settings(study: Study, plan: Plan) -> list[str]:
    """Returns a line for each thing that the user set and that changes nothing in a new plan.

    Args:
        study: the study that it was made from.
        plan: the plan.
    """
    asked, _ = parse_overrides(plan.overrides)
    configs = [config for group in plan.groups for config in searched_configs(group)]
    configs += [trial.config for trial in plan.trials]
    given = {n: v for n, v in asked.search.items() if v != getattr(study.search, n)}
    trials_of = {
        scope: own.search["trials"] for scope, own in asked.scoped.items() if "trials" in own.search
    }
    return [
        *_unread_overrides(asked, configs, tuple(study.models) or (study.base.model,)),
        *unread_search(given, trials_of, plan.search, plan.groups),
        *_unread_seed(plan.seed, plan.groups, configs),
    ]


def _unread_overrides(
    asked: Overrides, configs: Sequence[TrialConfig], models: Sequence[str]
) -> list[str]:
    """Returns a line for each override that changes no trial of a plan.

    A grid may set a field that some of its variants ignore; it is read where one trial reads it.

    Args:
        asked: the user's overrides, right in themselves.
        configs: the plan's trials.
        models: the study's; what is meant for those that the plan leaves out is no mistake.
    """
    by_model: dict[str, list[TrialConfig]] = {model: [] for model in models}
    for config in configs:
        by_model.setdefault(config.model, []).append(config)
    faults = []
    for scope, own in {"": asked, **asked.scoped}.items():
        meant = [model for model in by_model if scope in ("", model, family_of(model))]
        pinned = {name: (value,) for name, value in own.pinned.items()}
        for name, values in {**pinned, **own.axes}.items():
            winners = {model: _winner(asked, model, name) for model in meant}
            held = [model for model in meant if winners[model] == scope]
            label = f"{scope}/" if scope else ""
            found = [config for model in held for config in by_model[model]]
            if found:
                faults += [label + line for line in unread_values(name, values, found)]
            elif meant and not held:
                others = ", ".join(dict.fromkeys(f"{each}/{name}" for each in winners.values()))
                faults.append(
                    f"{label}{name}={_listed(values)} holds for no model here: each has "
                    f"{others} in its place; leave one out"
                )
    return faults


def _winner(asked: Overrides, model: str, name: str) -> str:
    """Returns the scope whose override of a field holds for a model; empty for that of all."""
    for scope in (model, family_of(model)):
        own = asked.scoped.get(scope, Overrides())
        if name in own.pinned or name in own.axes:
            return scope
    return ""


def unread_values(name: str, values: Sequence[Any], configs: Sequence[TrialConfig]) -> list[str]:
    """Returns a line where none of some trials reads a field, or its values are all one trial.

    Args:
        name: the field, with dots.
        values: what it is set to, several where it is enumerated.
        configs: the trials that it is set in.
    """
    found = [line for value in values if (line := unread(name, value, configs))]
    if found or len(values) < 2 or any(_tells_apart(each, name, values) for each in configs):
        return found[:1]
    return [
        f"{name}={_listed(values)}: no result depends on it, so that these values are one trial; "
        "give one"
    ]


def _listed(values: Sequence[Any]) -> str:
    return ",".join(map(shown, values))


def _tells_apart(config: TrialConfig, name: str, values: Sequence[Any]) -> bool:
    """Reports whether some of the values make another trial of this one than others do."""
    keys = set()
    for value in values:
        try:
            keys.add(apply_overrides(config, {name: value}).key())
        except ConfigError:  # a value that this variant cannot have
            return True
    return len(keys) > 1


def unread_search(
    given: Mapping[str, Any],
    trials_of: Mapping[str, int],
    search: SearchConfig,
    groups: Sequence[Group],
) -> list[str]:
    """Returns a line for each field of a search that changes no trial of a plan.

    Args:
        given: the fields that were set, with their values.
        trials_of: numbers of search trials that were set for one model or family, by its name.
        search: the search whole.
        groups: the plan's.
    """
    searched = [group for group in groups if group.trials]
    proposed = any(group.trials > search.sobol_trials for group in searched)
    reached = (config.unlearn for group in searched for config in searched_configs(group))
    looked = any(unlearn.eval_every < unlearn.steps for unlearn in reached)
    crowd = search.sampler != "nsga2" or search.generation > 1
    sobol = f"all search trials are among the search.sobol_trials={search.sobol_trials}"
    # for each field, what it takes to be read and what is said where that is lacking
    needs: dict[str, tuple[tuple[bool, str], ...]] = {
        "trials": (),
        "sobol_trials": (),
        "goal": (),
        "sampler": ((proposed, sobol),),
        "generation": ((proposed, sobol), (crowd, "nsga2 has a population of 2 at least")),
        "asha": ((looked, "no searched trial is evaluated before its last unlearn.steps"),),
    }
    faults = [
        _search_line(f"search.{name}", given[name], why)
        for name, own in needs.items()
        if name in given and (name != "trials" or given[name])
        for why in _first_lacking((bool(searched), _why_unsearched(groups)), *own)
    ]
    if given.get("replicates") and not any(group.config.unlearns for group in groups):
        why = "no trial unlearns, and others are the same with every seed"
        faults.append(_search_line("search.replicates", given["replicates"], why))
    faults += [
        _search_line(f"{scope}/search.trials", count, _why_unsearched(_of(scope, groups)))
        for scope, count in trials_of.items()
        if count and not _of(scope, searched) and _of(scope, groups)
    ]
    return faults


def _first_lacking(*needs: tuple[bool, str]) -> list[str]:
    """Returns what is said of the first need that is not met; nothing where all are."""
    return [why for met, why in needs if not met][:1]


def _why_unsearched(groups: Iterable[Group]) -> str:
    """Returns why none of some groups is searched."""
    return _NO_TRIALS if any(group.space for group in groups) else _NOTHING_SEARCHED


def _of(scope: str, groups: Iterable[Group]) -> list[Group]:
    """Returns the groups of a model or family."""
    return [g for g in groups if scope in (g.config.model, family_of(g.config.model))]


def _search_line(name: str, value: Any, why: str) -> str:
    return f"{name}={shown(value)} changes nothing here: {why}; leave it out"


def _unread_seed(seed: int, groups: Sequence[Group], configs: Iterable[TrialConfig]) -> list[str]:
    """Returns a line where neither a search nor a trial takes the seed of the call."""
    taken = any(config.unlearns and config.seed == seed for config in configs)
    if not seed or taken or any(group.trials for group in groups):
        return []
    return [
        f"--seed {seed} changes nothing here: nothing is searched, and no trial that unlearns has "
        "its seed; leave it out"
    ]
