"""Proposes search points by TPE or NSGA-II, both by Optuna and seeded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from platform.plan.sobol import Space
from search_spaces.study import Goal, SearchConfig

# the directions of an Optuna study; `platform.search.trial_record` says which values they order
DIRECTIONS: dict[Goal, list[StudyDirection]] = {
    "feasible": [StudyDirection.MAXIMIZE],
    "front": [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE],
}


def propose_points(
    space: Space,
    told: Iterable[FrozenTrial],
    count: int,
    seed: tuple[Any, ...],
    search: SearchConfig | None = None,
) -> list[dict[str, Any]]:
    """Returns points that TPE or NSGA-II proposes together.

    Args:
        space: a distribution for each searched field.
        told: measured trials, in an order that does not depend on when they ended; for NSGA-II
            with their generation, see `generation_of`.
        count: how many points, 1 or more.
        seed: any values; equal ones and equal trials give equal points.
        search: the sampler and the goal; TPE and one objective unless given.

    Returns:
        The points, each with a value for every field.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = search or SearchConfig()
    digest = hashlib.sha256(repr(seed).encode()).digest()
    study = optuna.create_study(
        directions=DIRECTIONS[search.goal],
        sampler=_sampler(search, int.from_bytes(digest[:4], "big")),
    )
    # with a trial that lacks a field, a sampler would take each field for itself
    study.add_trials(trial for trial in told if trial.params.keys() >= space.keys())
    ordered = dict(sorted(space.items()))
    return [study.ask(fixed_distributions=ordered).params for _ in range(count)]


def _sampler(search: SearchConfig, seed: int) -> BaseSampler:
    if search.sampler == "nsga2":
        return NSGAIISampler(seed=seed, population_size=max(2, search.generation))
    return TPESampler(seed=seed, multivariate=True, constant_liar=True)


def generation_of(number: int, search: SearchConfig) -> dict[str, int]:
    """Returns the attribute by which NSGA-II knows the generation of a trial.

    Optuna has no public name for it; a test tells where Optuna uses another.

    Args:
        number: counts the search trials, from 1; 0 for a trial that was not searched.
        search: the sizes of the search.
    """
    later = number - search.sobol_trials
    generation = 0 if later <= 0 else 1 + (later - 1) // search.generation
    return {NSGAIISampler._get_generation_key(): generation}
