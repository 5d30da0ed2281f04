"""Search points: a scrambled Sobol sequence, and proposals by TPE; both by Optuna, both seeded."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, create_trial

Space = Mapping[str, BaseDistribution]


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


def tpe_points(
    space: Space, told: Iterable[FrozenTrial], count: int, seed: tuple[Any, ...]
) -> list[dict[str, Any]]:
    """Points that TPE proposes, for feasible trials of a high objective.

    Args:
        space: what is searched.
        told: finished trials, in an order that does not depend on when they finished.
        count: how many points, proposed together.
        seed: anything; the same one and the same trials give the same points.

    Returns:
        A value a field for each point.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    digest = hashlib.sha256(repr(seed).encode()).digest()
    sampler = optuna.samplers.TPESampler(
        seed=int.from_bytes(digest[:4], "big"), multivariate=True, constant_liar=True
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    # with a trial that lacks a field, TPE would take each field for itself
    study.add_trials(trial for trial in told if trial.params.keys() >= space.keys())
    ordered = dict(sorted(space.items()))
    return [study.ask(fixed_distributions=ordered).params for _ in range(count)]
