"""Draws the first points of a search: a Sobol sequence, by Optuna, seeded."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import create_trial

Space = Mapping[str, BaseDistribution]


def sobol_points(space: Space, count: int, seed: int) -> list[dict[str, Any]]:
    """Returns the first points of a scrambled Sobol sequence.

    Args:
        space: a distribution for each searched field.
        count: how many points, 0 or more; the first ones are the same for every count.
        seed: seeds the scrambling.

    Returns:
        The points, each with a value for every field; equal for equal spaces and seeds.
    """
    axes = tuple((name, distribution_to_json(axis)) for name, axis in sorted(space.items()))
    return _drawn(axes, count, seed) if space else []


@functools.cache
def _drawn(axes: tuple[tuple[str, str], ...], count: int, seed: int) -> list[dict[str, Any]]:
    """Draws once for all groups of one space, however many cells are enumerated."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "QMCSampler is experimental", ExperimentalWarning)
        sampler = optuna.samplers.QMCSampler(qmc_type="sobol", scramble=True, seed=seed)
    # Only relative sampling is the Sobol sequence: asked as usual, a study's first point would be
    # an independent random one, since nothing told the sampler of the space yet.
    study = optuna.create_study(sampler=sampler)
    space = {name: json_to_distribution(axis) for name, axis in axes}
    unused = create_trial(value=0.0)
    return [sampler.sample_relative(study, unused, space) for _ in range(count)]
