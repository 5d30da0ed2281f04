"""Search points: a Sobol sequence, and proposals by TPE or NSGA-II; all by Optuna, all seeded."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial

from search_spaces.study import Goal, SearchConfig

Space = Mapping[str, BaseDistribution]

# of Optuna's studies; what their values are, `platform.entries` says
DIRECTIONS: dict[Goal, list[StudyDirection]] = {
    "feasible": [StudyDirection.MAXIMIZE],
    "front": [StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE],
}


def sobol_points(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """The first points of a scrambled Sobol sequence; equal spaces and seeds, equal points.

    Args:
        space: what is searched.
        count: how many points; the first ones are the same for every count.
        seed: of the scrambling.

    Returns:
        A value a field for each point.
    """
    if not space:
        return []
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "QMCSampler is experimental", ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=seed)
    # Only relative sampling is the Sobol sequence: asked as usual, a study's first point would be
    # an independent random one, since nothing told the sampler of the space yet.
    study = optuna.create_study(sampler=sampler)
    ordered = dict(sorted(space.items()))
    unused = create_trial(value=0.0)
    return [sampler.sample_relative(study, unused, ordered) for _ in range(count)]


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
