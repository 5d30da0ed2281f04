"""Study + settings -> Plan: every fault of the request found together, every trial named once.

A study's variants are crossed with what is enumerated; each row of that product has a trial of its
own, and a search over what is neither pinned, enumerated, nor ignored by its method.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    distribution_to_json,
    json_to_distribution,
)

from platform.checks import trial_problems
from platform.plan import Group, LaunchConfig, Plan, PlannedTrial
from platform.points import sobol_points
from platform.settings import Settings, parse_settings
from search_spaces.study import Study
from trainables.config import DataConfig, TrialConfig, content_key, to_dict
from trainables.data.splits import problems
from trainables.errors import ConfigError
from trainables.overrides import apply_overrides, flatten

# these make a variant's label; whatever else is enumerated makes only a trial's name
_LABEL_FIELDS = ("model", "method", "retain_source", "variant")
_LONGEST_NAME = 60

Problems = list[str]


def make_plan(
    study: Study,
    *,
    name: str,
    storage: Path,
    settings: Sequence[str] = (),
    seed: int = 0,
    launch: LaunchConfig | None = None,
) -> Plan:
    """Plans every trial that is known before the start.

    Args:
        study: the question.
        name: of the sweep.
        storage: the folder that holds sweeps.
        settings: the user's, `key=value`.
        seed: of the search, and of every trial unless the study or a setting says otherwise.
        launch: what a trial runs on.

    Raises:
        ConfigError: everything that is wrong with the settings, the fields and the data, together.
    """
    asked, faults = parse_settings(settings)
    launch = launch or LaunchConfig()
    rows, more = _rows(study, asked, seed)
    more += [line for row in rows for line in trial_problems(row.config, launch.workers)]
    if faults or more:
        raise ConfigError(list(dict.fromkeys([*faults, *more])))
    search = dataclasses.replace(study.search, **asked.search)
    groups, trials = _trials(rows, search.trials, search.sobol_trials, seed)
    return Plan(
        name=name,
        study=study.name,
        question=study.question,
        storage=storage,
        seed=seed,
        trials=trials,
        groups=groups,
        launch=launch,
        search=search,
        settings=tuple(settings),
    )


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A variant at one combination of what is enumerated.

    Attributes:
        label: the variant's.
        name: of its own trial.
        kind: of its own trial.
        config: of its own trial.
        space: what is searched.
    """

    label: str
    name: str
    kind: Literal["default", "grid"]
    config: TrialConfig
    space: dict[str, BaseDistribution] = field(default_factory=dict)


def _rows(study: Study, asked: Settings, seed: int) -> tuple[list[_Row], Problems]:
    """Distinct rows, each variant's default before its others."""
    named = {name: values for name, values in asked.axes.items() if name != "method"}
    axes = {n: v for n, v in {**study.axes, **named}.items() if n not in asked.pinned}
    variants = _variants(study, asked.axes.get("method", ()))
    configs: dict[str, TrialConfig] = {}
    data: dict[str, DataConfig] = {}
    faults: Problems = []
    for variant, values in itertools.product(variants, itertools.product(*axes.values())):
        enumerated = dict(zip(axes, values, strict=True))
        chosen = {"seed": seed, **variant, **asked.pinned, **enumerated}
        of_data = {name: value for name, value in chosen.items() if name.startswith("data.")}
        config, wrong = _applied(study.base, chosen)
        usable, _ = _applied(study.base, of_data)  # its data are looked at whatever else is wrong
        faults += wrong
        if config is not None:
            configs.setdefault(config.key(), config)
        if usable is not None:
            data.setdefault(content_key(to_dict(usable.data)), usable.data)
    faults += [line for each in data.values() for line in problems(each)]
    space = {n: axis for n, axis in study.space.items() if n not in {**asked.pinned, **axes}}
    told = [*axes, *(name for variant in variants for name in variant)]
    usual = flatten(to_dict(study.base)) | {"seed": seed} | asked.pinned
    return list(_named(configs.values(), told, usual, space)), faults


def _applied(
    base: TrialConfig, overrides: Mapping[str, Any]
) -> tuple[TrialConfig | None, Problems]:
    try:
        return apply_overrides(base, overrides), []
    except ConfigError as error:
        return None, error.problems


def _variants(study: Study, methods: Iterable[str]) -> list[Mapping[str, Any]]:
    """The study's variants; of the given methods alone, with a plain one where it has none."""
    wanted = list(methods)
    if not wanted:
        return list(study.variants)

    def method(variant: Mapping[str, Any]) -> str:
        return str(variant.get("method", study.base.method))

    kept = [variant for variant in study.variants if method(variant) in wanted]
    present = {method(variant) for variant in kept}
    return [*kept, *({"method": name} for name in wanted if name not in present)]


def _named(
    configs: Iterable[TrialConfig],
    told: Iterable[str],
    usual: Mapping[str, Any],
    space: Mapping[str, BaseDistribution],
) -> Iterator[_Row]:
    """Labels and names. A variant's default is its row at the usual values, or else its first."""
    every = list(configs)
    fields = [name for name in dict.fromkeys(told) if name not in _LABEL_FIELDS]
    many = len({config.model for config in every}) > 1
    by_label: dict[str, list[tuple[str, TrialConfig]]] = {}
    for config in every:
        label = f"{config.model}/{_label(config)}" if many else _label(config)
        own, counted = (flatten(to_dict(each)) for each in (config, config.canonical()))
        unusual = {n: own[n] for n in fields if own[n] != usual[n] and own[n] == counted[n]}
        by_label.setdefault(label, []).append((_suffix(unusual, fields), config))
    taken: set[str] = set()
    for label, rows in by_label.items():
        rows.sort(key=lambda row: row[0] != "")
        for index, (suffix, config) in enumerate(rows):
            yield _Row(
                label=label,
                name=_unique(label.replace("/", "-") + suffix, config, taken),
                kind="grid" if index else "default",
                config=config,
                space={n: axis for n, axis in space.items() if _matters(config, n, axis)},
            )


def _label(config: TrialConfig) -> str:
    seen = config.canonical()
    source = "" if seen.retain_source == "real" else f"_{seen.retain_source.replace(':', 'to')}"
    return seen.method + source + ("" if seen.variant == "paper" else f"_{seen.variant}")


def _suffix(unusual: Mapping[str, Any], fields: Sequence[str]) -> str:
    """Such as `-alpha0.5-seed1`; a field is told by its last part where no other ends so."""
    ends = [name.rpartition(".")[2] for name in fields]
    parts = []
    for name, value in unusual.items():
        end = name.rpartition(".")[2]
        short = end.removeprefix("forget_") if ends.count(end) == 1 else name
        text = f"{value:g}" if isinstance(value, float) else str(value)
        parts.append(f"-{short}{re.sub(r'[^A-Za-z0-9.+-]+', '_', text).strip('_')}")
    return "".join(parts)


def _unique(name: str, config: TrialConfig, taken: set[str]) -> str:
    if name in taken or len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}-{config.key()[:6]}"
    taken.add(name)
    return name


def _matters(config: TrialConfig, name: str, axis: BaseDistribution) -> bool:
    """Whether a searched field changes what the trial does: `original` ignores alpha and rate."""
    if isinstance(axis, CategoricalDistribution):
        ends: tuple[Any, ...] = axis.choices
    else:
        ends = (axis.low, axis.high)  # type: ignore[attr-defined]
    return len({apply_overrides(config, {name: end}).key() for end in ends}) > 1


def _trials(
    rows: Sequence[_Row], count: int, sobol: int, seed: int
) -> tuple[tuple[Group, ...], tuple[PlannedTrial, ...]]:
    """Defaults first, the original's before all, then search points round-robin over the groups."""
    groups = tuple(
        Group(
            label=row.label,
            name=row.name,
            config=row.config,
            space=row.space,
            trials=count if row.space else 0,
        )
        for row in rows
    )
    own = [
        PlannedTrial(
            key=row.config.key(),
            group=row.label,
            name=row.name,
            kind=row.kind,
            number=0,
            config=row.config,
            params=_params(row.config, row.space),
        )
        for row in rows
    ]
    own.sort(key=lambda trial: (trial.kind == "grid", trial.config.method != "original"))
    searched = sorted(
        (
            search_trial(group, number, point)
            for group in groups
            for number, point in enumerate(_points(group, min(group.trials, sobol), seed), 1)
        ),
        key=lambda trial: trial.number,
    )
    distinct: dict[str, PlannedTrial] = {}
    for trial in [*own, *searched]:
        distinct.setdefault(trial.key, trial)
    return groups, tuple(distinct.values())


def _points(group: Group, count: int, seed: int) -> list[dict[str, Any]]:
    """Drawn once for all groups of one space, however many rows are enumerated."""
    space = tuple((name, distribution_to_json(axis)) for name, axis in sorted(group.space.items()))
    return _points_of(space, count, seed)


@functools.cache
def _points_of(space: tuple[tuple[str, str], ...], count: int, seed: int) -> list[dict[str, Any]]:
    return sobol_points({name: json_to_distribution(axis) for name, axis in space}, count, seed)


def search_trial(group: Group, number: int, point: Mapping[str, Any]) -> PlannedTrial:
    """A search point of a group as a trial.

    Args:
        group: that it belongs to.
        number: from 1.
        point: the searched fields' values.
    """
    config = apply_overrides(group.config, point)
    return PlannedTrial(
        key=config.key(),
        group=group.label,
        name=f"{group.name}-s{number}",
        kind="search",
        number=number,
        config=config,
        params=dict(point),
    )


def _params(config: TrialConfig, space: Iterable[str]) -> dict[str, float]:
    values = flatten(to_dict(config))
    return {name: values[name] for name in space}
