"""Search points: Sobol ones that do not depend on their count, and TPE's by feasible trials."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import NSGAIISampler
from optuna.trial import FrozenTrial, create_trial

from platform.plan.sobol import sobol_points
from platform.search.samplers import generation_of, propose_points
from search_spaces.study import SearchConfig

SPACE = {
    "rate": FloatDistribution(1e-4, 1e-2, log=True),
    "alpha": FloatDistribution(0.0, 1.0),
    "steps": IntDistribution(10, 90),
    "formulation": CategoricalDistribution(("paper", "released")),
}
SQUARE = {"x": FloatDistribution(0.0, 1.0), "y": FloatDistribution(0.0, 1.0)}


def told(point: Mapping[str, Any], objective: float, violation: float) -> FrozenTrial:
    return create_trial(
        params=dict(point),
        distributions=SQUARE,
        value=objective,
        constraints={"retain": violation},
    )


def history(highest_x: float = 1.0) -> list[FrozenTrial]:
    """Thirty random points, better the larger x, infeasible above an x."""
    draw = random.Random(1)
    points = [{"x": draw.random(), "y": draw.random()} for _ in range(30)]
    return [told(point, point["x"], point["x"] - highest_x) for point in points]


def test_sobol_points_are_in_the_space_and_of_its_types() -> None:
    points = sobol_points(SPACE, 16, seed=0)
    assert len(points) == 16
    for point in points:
        assert {name: type(value) for name, value in point.items()} == {
            "alpha": float,
            "rate": float,
            "steps": int,
            "formulation": str,
        }
        assert all(SPACE[n]._contains(SPACE[n].to_internal_repr(v)) for n, v in point.items())


def test_sobol_points_spread_evenly_on_each_axis() -> None:
    points = sobol_points(SPACE, 8, seed=5)
    rates = np.log10([point["rate"] for point in points])
    for values, low, high in (([p["alpha"] for p in points], 0.0, 1.0), (rates, -4.0, -2.0)):
        eighths = np.floor((np.asarray(values) - low) / (high - low) * 8)
        assert sorted(eighths) == list(range(8))


def test_the_first_sobol_points_do_not_depend_on_their_count() -> None:
    many = sobol_points(SPACE, 10, seed=0)
    for count in (0, 1, 3, 9):
        assert sobol_points(SPACE, count, seed=0) == many[:count]


def test_sobol_points_do_not_depend_on_the_order_of_the_axes() -> None:
    assert sobol_points(dict(reversed(SPACE.items())), 5, seed=0) == sobol_points(SPACE, 5, seed=0)


def test_sobol_points_change_with_the_seed() -> None:
    first, second = (sobol_points(SPACE, 4, seed=seed) for seed in (0, 1))
    assert all(a["alpha"] != b["alpha"] for a, b in zip(first, second, strict=True))


def test_nothing_to_search_has_no_points() -> None:
    assert sobol_points({}, 5, seed=0) == []


def test_tpe_repeats_itself_and_changes_with_the_seed_and_the_trials() -> None:
    first = propose_points(SQUARE, history(), 4, (0, "ours", 0))
    assert len({tuple(sorted(point.items())) for point in first}) == 4
    assert propose_points(SQUARE, history(), 4, (0, "ours", 0)) == first
    assert propose_points(dict(reversed(SQUARE.items())), history(), 4, (0, "ours", 0)) == first
    assert propose_points(SQUARE, history(), 4, (1, "ours", 0)) != first
    assert propose_points(SQUARE, history()[:-1], 4, (0, "ours", 0)) != first


def test_tpe_seeks_the_objective_where_the_constraint_allows() -> None:
    free, bound = (
        [point["x"] for point in propose_points(SQUARE, history(highest), 16, ("s",))]
        for highest in (1.0, 0.4)
    )
    assert np.mean(free) > 0.6
    assert np.mean(bound) < 0.5


def test_tpe_with_nothing_told_draws_from_the_whole_space() -> None:
    points = propose_points(SPACE, [], 8, ("s",))
    assert len({point["alpha"] for point in points}) == 8
    assert {type(point["steps"]) for point in points} == {int}


def test_a_trial_outside_of_the_space_teaches_tpe_nothing() -> None:
    outside = create_trial(value=9.0, constraints={"retain": -1.0})
    assert propose_points(SQUARE, [outside, *history()], 4, ("s",)) == propose_points(
        SQUARE, history(), 4, ("s",)
    )


def test_generations_are_counted_from_the_first_trial_that_was_proposed() -> None:
    search = SearchConfig(sobol_trials=3, generation=2, sampler="nsga2")
    found = [value for number in range(9) for value in generation_of(number, search).values()]
    assert found == [0, 0, 0, 0, 1, 1, 2, 2, 3]


def test_optuna_marks_generations_by_the_attribute_that_is_given_to_it() -> None:
    changed = "Optuna marks the generations of NSGA-II anew: mend generation_of of search/samplers"
    assert hasattr(NSGAIISampler, "_get_generation_key"), changed
    (name,) = generation_of(1, SearchConfig())
    study = optuna.create_study(sampler=NSGAIISampler(population_size=2, seed=0))
    for _ in range(6):
        trial = study.ask(SQUARE)
        study.tell(trial, trial.params["x"])
    assert [each.system_attrs.get(name) for each in study.trials] == [0, 0, 1, 1, 2, 2], changed
