"""Intervals, fronts and ranks of the report, against values that are known."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics import (
    Estimate,
    hypervolume,
    interval,
    paired,
    pareto,
    rank_correlation,
    ranks,
)


def test_an_interval_is_students():
    found = interval([4.0, 5.0, 6.0, 7.0, 8.0])
    # t(0.975, 4) = 2.776445, s = sqrt(2.5), sqrt(n) = sqrt(5)
    assert found.mean == 6.0
    assert found.high - found.mean == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-6)
    assert (found.mean - found.low, found.n) == (pytest.approx(found.high - found.mean), 5)


def test_an_interval_is_scipys():
    values = list(np.random.default_rng(0).normal(3.0, 2.0, size=7))
    low, high = stats.t.interval(0.95, 6, loc=np.mean(values), scale=stats.sem(values))
    found = interval(values)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_95_of_100_intervals_hold_the_mean():
    draws = np.random.default_rng(1).normal(10.0, 3.0, size=(4000, 3))
    held = [found.low <= 10.0 <= found.high for found in map(interval, draws.tolist())]
    assert np.mean(held) == pytest.approx(0.95, abs=0.01)


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert interval([2.5]) == Estimate(mean=2.5, low=None, high=None, n=1)
    assert interval([]) is None


def test_a_rank_correlation_is_spearmans_with_the_interval_of_bonett_and_wright():
    found = rank_correlation([(1, 10), (2, 40), (3, 20), (4, 30), (5, 90), (6, 80)])
    # sum of squared differences of ranks 8: 1 - 6 * 8 / (6 * 35)
    assert found.mean == pytest.approx(27 / 35)
    half = 1.959964 * math.sqrt((1 + (27 / 35) ** 2 / 2) / 3)
    assert found.low == pytest.approx(math.tanh(math.atanh(27 / 35) - half), rel=1e-5)
    assert found.high == pytest.approx(math.tanh(math.atanh(27 / 35) + half), rel=1e-5)


def test_95_of_100_rank_correlations_hold_that_of_the_population():
    rng, rho = np.random.default_rng(0), 0.8
    spearman = 6 / math.pi * math.asin(rho / 2)
    found = []
    for _ in range(600):
        x = rng.normal(size=30)
        y = rho * x + math.sqrt(1 - rho**2) * rng.normal(size=30)
        found.append(rank_correlation(list(zip(x, y, strict=True))))
    assert np.mean([each.low <= spearman <= each.high for each in found]) > 0.92


def test_a_rank_correlation_needs_four_pairs_that_differ():
    assert rank_correlation([(1, 1), (2, 2), (3, 3)]) is None
    assert rank_correlation([(1, 1), (1, 2), (1, 3), (1, 4)]) is None
    assert rank_correlation([(1, 4), (2, 3), (3, 2), (4, 1)]) == Estimate(
        mean=-1.0, low=None, high=None, n=4
    )


def test_differences_are_paired_over_common_seeds():
    found = paired({0: 5.0, 1: 7.0, 2: 9.0}, {1: 6.0, 2: 7.0, 3: 100.0})
    assert (found.mean, found.n) == (1.5, 2)
    # differences 1 and 2: s / sqrt(n) = 0.5, t(0.975, 1) = 12.7062
    assert found.high - found.mean == pytest.approx(12.7062 * 0.5, rel=1e-5)
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_pairing_removes_what_seeds_have_in_common():
    seeds = {seed: 10.0 * seed for seed in range(3)}
    first = {seed: value + 1.0 + 0.01 * seed for seed, value in seeds.items()}
    assert paired(first, seeds).low > 0.9
    assert interval(list(first.values())).low < 0.0


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)], [0, 1, 2]),
        ([(2.0, 3.0), (0.0, 1.0), (1.0, 0.5), (1.0, 2.0)], [1, 3, 0]),
        ([(0.0, 5.0), (1.0, 4.0), (-1.0, 5.0)], [2]),
        ([(1.0, 1.0), (1.0, 1.0), (1.0, 2.0)], [2]),
        ([(1.0, 1.0), (1.0, 1.0)], [0]),
        ([], []),
    ],
)
def test_a_front_holds_what_nothing_beats(points, front):
    assert pareto(points) == front


def test_a_hypervolume_is_the_area_below_the_stairs():
    assert hypervolume([(0.0, 1.0), (0.5, 2.0)], (1.0, 0.0)) == pytest.approx(0.5 * 1 + 0.5 * 2)
    # a beaten point, and points outside of the reference, add nothing
    more = [(0.0, 1.0), (0.5, 2.0), (0.6, 1.5), (2.0, 9.0), (0.1, -1.0)]
    assert hypervolume(more, (1.0, 0.0)) == pytest.approx(1.5)
    assert hypervolume([(-1.0, 1.0)], (1.0, 0.0)) == pytest.approx(2.0)
    assert hypervolume([], (1.0, 0.0)) == 0.0
    assert hypervolume([(1.0, 1.0)], (1.0, 0.0)) == 0.0


def test_a_hypervolume_is_what_counting_gives():
    points = np.random.default_rng(2).uniform(size=(30, 2))
    steps = (np.arange(400) + 0.5) / 400
    x, y = np.meshgrid(steps, steps)
    beaten = np.zeros_like(x, dtype=bool)
    for across, up in points:
        beaten |= (x >= across) & (y <= up)
    found = hypervolume([tuple(point) for point in points.tolist()], (1.0, 0.0))
    assert found == pytest.approx(beaten.mean(), abs=0.005)


def test_equal_values_share_a_rank():
    values = [3.0, None, 7.0, 3.0, 1.0]
    assert ranks(values, highest_first=True) == [2, None, 1, 2, 4]
    assert ranks(values, highest_first=False) == [2, None, 4, 2, 1]
