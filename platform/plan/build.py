"""Study + settings -> Plan: every fault of the request found together, every trial named once.

A study's variants are crossed with what is enumerated; each row of that product has a trial of its
own, and a search over what is neither pinned, enumerated, nor ignored by its method.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import (
    distribution_to_json,
    json_to_distribution,
)

from platform.plan import resources
from platform.plan.grid import Row, enumerate_rows
from platform.plan.overrides import parse_settings
from platform.plan.plan import Group, LaunchConfig, Plan, PlannedTrial
from platform.plan.sobol import sobol_points
from platform.plan.validation import plan_problems
from search_spaces.study import SearchConfig, Study
from trainables.config import TrialConfig, to_dict
from trainables.config.overrides import apply_overrides, flatten
from trainables.utils.errors import ConfigError


def make_plan(
    study: Study,
    *,
    name: str,
    storage: Path,
    settings: Sequence[str] = (),
    seed: int = 0,
    launch: LaunchConfig | None = None,
    study_file: str = "",
) -> Plan:
    """Plans every trial that is known before the start.

    Args:
        study: the question.
        name: of the sweep.
        storage: the folder that holds sweeps.
        settings: the user's, `key=value`.
        seed: of the search, and of every trial unless the study or a setting says otherwise.
        launch: what a trial runs on.
        study_file: the user's own, that holds the study.

    Raises:
        ConfigError: everything that is wrong with the settings, the fields and the data, together.
    """
    asked, faults = parse_settings(settings)
    launch = launch or LaunchConfig()
    rows, more = enumerate_rows(study, asked, seed)
    more += plan_problems([row.config for row in rows], launch.workers)
    if faults or more:
        raise ConfigError(list(dict.fromkeys([*faults, *more])))
    search = dataclasses.replace(study.search, **asked.search)
    if search.asha and resources.uses_trainer(launch):
        raise ConfigError(
            ["search.asha=true stops trials that run each in one process: --launcher inline"]
        )
    groups, trials = _trials(rows, search, seed)
    return Plan(
        name=name,
        study=study.name,
        study_file=study_file,
        question=study.question,
        storage=storage,
        seed=seed,
        trials=trials,
        groups=groups,
        launch=launch,
        search=search,
        settings=tuple(settings),
    )


def _trials(
    rows: Sequence[Row], search: SearchConfig, seed: int
) -> tuple[tuple[Group, ...], tuple[PlannedTrial, ...]]:
    """Rows first, the original's before all, then points and search points round-robin."""
    groups = tuple(
        Group(
            label=row.label,
            name=row.name,
            config=row.config,
            space=row.space,
            trials=row.trials if row.space else 0,
            replicates=search.replicates if row.space and row.trials else 0,
        )
        for row in rows
    )
    own = [_own_trial(row) for row in rows]
    own.sort(key=lambda trial: (trial.kind == "grid", trial.config.method != "original"))
    again = [
        replicate(trial, number)
        for number in range(1, search.replicates + 1)
        for trial in own
        if trial.config.batch_rows()  # what does not unlearn is the same with every seed
    ]
    later = [
        *(each for row in rows for each in _point_trials(row)),
        *(
            search_trial(group, number, point)
            for group in groups
            for number, point in enumerate(
                _points(group, min(group.trials, search.sobol_trials), seed), 1
            )
        ),
    ]
    later.sort(key=lambda trial: (trial.kind != "point", trial.number))
    distinct: dict[str, PlannedTrial] = {}
    for trial in [*own, *later, *again]:
        distinct.setdefault(trial.key, trial)
    return groups, tuple(distinct.values())


def _own_trial(row: Row) -> PlannedTrial:
    return PlannedTrial(
        key=row.config.key(),
        group=row.label,
        group_name=row.name,
        name=row.name,
        kind=row.kind,
        number=0,
        config=row.config,
        params=_params(row.config, row.space),
    )


def _point_trials(row: Row) -> list[PlannedTrial]:
    return [
        PlannedTrial(
            key=config.key(),
            group=row.label,
            group_name=row.name,
            name=f"{row.name}-p{number}",
            kind="point",
            number=number,
            config=config,
            params=_params(config, row.space),
        )
        for number, config in enumerate(row.points, 1)
    ]


def replicate(trial: PlannedTrial, number: int) -> PlannedTrial:
    """A trial once more, by a seed of its own.

    Args:
        trial: no replicate itself.
        number: from 1.
    """
    config = dataclasses.replace(trial.config, seed=trial.config.seed + number)
    return dataclasses.replace(
        trial,
        key=config.key(),
        name=f"{trial.name}-r{number}",
        kind="replicate",
        number=number,
        config=config,
    )


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
        group_name=group.name,
        name=f"{group.name}-s{number}",
        kind="search",
        number=number,
        config=config,
        params=dict(point),
    )


def _params(config: TrialConfig, space: Iterable[str]) -> dict[str, float]:
    values = flatten(to_dict(config))
    return {name: values[name] for name in space}
