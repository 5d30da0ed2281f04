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

# of Optuna's studies; what their values are, `platform.search.trial_record` says
DIRECTIONS: dict[Goal, list[StudyDirection]] = {
    "feasible": [StudyDirection.MAXIMIZE],
    "front": [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE],
}


def proposals(
    space: Space,
    told: Iterable[FrozenTrial],
    count: int,
    seed: tuple[Any, ...],
    search: SearchConfig | None = None,
) -> list[dict[str, Any]]:
    """Points that TPE or NSGA-II proposes.

    Args:
        space: what is searched.
        told: finished trials, in an order that does not depend on when they finished; of NSGA-II
            with their generation, see `generation_of`.
        count: how many points, proposed together.
        seed: anything; the same one and the same trials give the same points.
        search: says by which sampler, and for which goal.

    Returns:
        A value a field for each point.
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
    """NSGA-II's own mark of the generation that a trial is of.

    Args:
        number: of the search trial, from 1; 0 for a trial that was not searched.
        search: gives the sizes.
    """
    later = number - search.sobol_trials
    generation = 0 if later <= 0 else 1 + (later - 1) // search.generation
    return {NSGAIISampler._get_generation_key(): generation}
