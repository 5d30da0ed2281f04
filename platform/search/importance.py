"""How much each searched field matters, by Optuna's evaluators on a study made of recorded rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_TREES = 64


def importances(
    space: Mapping[str, str], points: Sequence[Mapping[str, Any]], values: Sequence[float]
) -> dict[str, float]:
    """Shares of a measure's variance that each field explains, by fANOVA.

    The evaluator is Optuna's (Hutter, Hoos and Leyton-Brown, ICML 2014), seeded: the same rows give
    the same shares.

    Args:
        space: field to its distribution, Optuna's JSON as `plan.json` has it.
        points: a value of each field, for every trial.
        values: what is explained, for every trial; finite.

    Returns:
        Field to its share, which add up to 1, the largest first; empty where all values are equal.
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
