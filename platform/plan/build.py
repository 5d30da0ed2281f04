"""Makes the plan of a study: finds every fault of the request together, names every trial once.

A study's variants are crossed with what is enumerated; each cell of that product has a trial of
its own, and a search over what is neither pinned, enumerated, nor ignored by its method.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from platform.plan import resources
from platform.plan.grid import Cell, enumerate_cells
from platform.plan.overrides import parse_overrides
from platform.plan.plan import Group, Kind, LaunchConfig, Plan, PlannedTrial
from platform.plan.sobol import sobol_points
from platform.plan.validation import plan_problems
from search_spaces.study import SearchConfig, Study
from trainables.config import TrialConfig, to_dict
from trainables.config.overrides import apply_overrides
from trainables.utils.errors import ConfigError
from trainables.utils.text import flatten


def make_plan(
    study: Study,
    *,
    name: str,
    storage: Path,
    overrides: Sequence[str] = (),
    seed: int = 0,
    launch: LaunchConfig | None = None,
    study_file: str = "",
) -> Plan:
    """Plans every trial that is known before the start.

    Args:
        study: the question, its variants and its search.
        name: the sweep's name.
        storage: the folder that holds sweeps.
        overrides: the user's `--set KEY=VALUE`, without the option's name.
        seed: seeds the search, and every trial unless the study or an override says otherwise.
        launch: what a trial runs on.
        study_file: the user's own file that holds the study; empty for one of the product's.

    Raises:
        ConfigError: everything that is wrong with the overrides, the fields and the data, together.
    """
    asked, faults = parse_overrides(overrides)
    launch = launch or LaunchConfig()
    cells, more = enumerate_cells(study, asked, seed)
    more += plan_problems([cell.group.config for cell in cells], launch.workers)
    if faults or more:
        raise ConfigError(list(dict.fromkeys([*faults, *more])))
    search = dataclasses.replace(study.search, **asked.search)
    if search.asha and resources.uses_trainer(launch):
        raise ConfigError(
            ["search.asha=true stops trials that run each in one process: --launcher inline"]
        )
    groups = tuple(
        dataclasses.replace(cell.group, replicates=search.replicates if cell.group.trials else 0)
        for cell in cells
    )
    return Plan(
        name=name,
        study=study.name,
        study_file=study_file,
        question=study.question,
        storage=storage,
        seed=seed,
        trials=_trials(cells, groups, search, seed),
        groups=groups,
        launch=launch,
        search=search,
        overrides=tuple(overrides),
    )


def _trials(
    cells: Sequence[Cell], groups: Sequence[Group], search: SearchConfig, seed: int
) -> tuple[PlannedTrial, ...]:
    """Returns the trials in the plan's order; of equal ones the first.

    The cells' own trials come first, the original's before all; then fixed points and search
    points, in turn for all cells; then replicates.
    """
    own = [_trial(cell.group, cell.group.config, cell.kind) for cell in cells]
    own.sort(key=lambda trial: (trial.kind == "grid", trial.config.method != "original"))
    points = [
        _trial(cell.group, config, "point", number)
        for cell in cells
        for number, config in enumerate(cell.points, 1)
    ]
    searched = [
        search_trial(group, number, point)
        for group in groups
        for number, point in enumerate(
            sobol_points(group.space, min(group.trials, search.sobol_trials), seed), 1
        )
    ]
    again = [
        replicate(trial, number)
        for number in range(1, search.replicates + 1)
        for trial in own
        if trial.config.batch_rows()  # what does not unlearn is the same with every seed
    ]
    in_turn = [sorted(each, key=lambda trial: trial.number) for each in (points, searched)]
    distinct: dict[str, PlannedTrial] = {}
    for trial in [*own, *in_turn[0], *in_turn[1], *again]:
        distinct.setdefault(trial.key, trial)
    return tuple(distinct.values())


def _trial(
    group: Group,
    config: TrialConfig,
    kind: Kind,
    number: int = 0,
    params: Mapping[str, Any] | None = None,
) -> PlannedTrial:
    if params is None:
        values = flatten(to_dict(config))
        params = {name: values[name] for name in group.space}
    return PlannedTrial(
        key=config.key(),
        group=group.label,
        group_name=group.name,
        # `-p1` names a fixed point, `-s1` a point of the search
        name=f"{group.name}-{kind[0]}{number}" if number else group.name,
        kind=kind,
        number=number,
        config=config,
        params=dict(params),
    )


def search_trial(group: Group, number: int, point: Mapping[str, Any]) -> PlannedTrial:
    """Returns a group's trial at a point of its search.

    Args:
        group: the group that it belongs to.
        number: counts the group's search trials, from 1.
        point: a value for each searched field.
    """
    return _trial(group, apply_overrides(group.config, point), "search", number, point)


def replicate(trial: PlannedTrial, number: int) -> PlannedTrial:
    """Returns a trial once more, with a seed of its own.

    Args:
        trial: the trial to repeat; no replicate itself.
        number: what is added to its seed, 1 or more.
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
