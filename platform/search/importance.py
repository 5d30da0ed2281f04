"""Computes how much each searched field matters, by Optuna's fANOVA on recorded trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_TREES = 64


def importances(
    space: Mapping[str, str], points: Sequence[Mapping[str, Any]], values: Sequence[float]
) -> dict[str, float]:
    """Returns the share of a measure's variance that each field explains, by fANOVA.

    The evaluator is Optuna's (Hutter, Hoos and Leyton-Brown, ICML 2014), seeded: equal trials give
    equal shares.

    Args:
        space: a distribution for each field, in Optuna's JSON as `plan.json` has it.
        points: a value for each field, one point a trial.
        values: the measure that is explained, one finite value a trial.

    Returns:
        A share for each field, the largest first; they add up to 1. Empty where all values are
        equal.
    """
    import optuna
    from optuna.distributions import json_to_distribution

    if len(set(values)) < 2:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {name: json_to_distribution(axis) for name, axis in space.items()}
    study = optuna.create_study()
    study.add_trials(
        optuna.trial.create_trial(
            params={name: point[name] for name in space}, distributions=distributions, value=value
        )
        for point, value in zip(points, values, strict=True)
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, seed=0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)
