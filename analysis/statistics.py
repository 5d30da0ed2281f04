"""Computes intervals, rank correlations, Pareto fronts and hypervolumes from numbers alone."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from scipy.special import ndtri, stdtrit
from scipy.stats import spearmanr

Pair = tuple[float, float]
_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds with its 95 % interval.

    Attributes:
        mean: of the values.
        low, high: ends of the interval; None of a single value, which has none.
        n: the number of values.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


def interval(values: Sequence[float]) -> Estimate | None:
    """Returns the mean and 95 % interval by Student's t; None for no values.

    The half width is t(0.975, n - 1) s / sqrt(n), s the sample standard deviation (Student,
    Biometrika 1908): it holds for values that are independent and about normal.
    """
    n = len(values)
    if not n:
        return None
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean=mean, low=None, high=None, n=1)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(stdtrit(n - 1, 0.5 + _CONFIDENCE / 2)) * deviation / math.sqrt(n)
    return Estimate(mean=mean, low=mean - half, high=mean + half, n=n)


def paired(first: Mapping[Hashable, float], second: Mapping[Hashable, float]) -> Estimate | None:
    """Returns mean and interval of `first - second` over the keys (seeds) that both have."""
    return interval([first[key] - second[key] for key in first if key in second])


def rank_correlation(pairs: Sequence[Pair]) -> Estimate | None:
    """Returns Spearman's rank correlation of two numbers, with its 95 % interval.

    The interval is Fisher's z with the variance (1 + rho^2 / 2) / (n - 3) (Bonett and Wright,
    Psychometrika 2000, equation 3); ranks that agree or oppose wholly have none.

    Args:
        pairs: finite numbers.

    Returns:
        The correlation as `mean`; None for fewer than 4 pairs, or where one number never differs.
    """
    first, second = {x for x, _ in pairs}, {y for _, y in pairs}
    n = len(pairs)
    if n < 4 or min(len(first), len(second)) < 2:
        return None
    rho = float(spearmanr([x for x, _ in pairs], [y for _, y in pairs]).statistic)
    if abs(rho) > 1 - 1e-9:
        return Estimate(mean=math.copysign(1.0, rho), low=None, high=None, n=n)
    half = float(ndtri(0.5 + _CONFIDENCE / 2)) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    low, high = (math.tanh(math.atanh(rho) + side * half) for side in (-1, 1))
    return Estimate(mean=rho, low=low, high=high, n=n)


def pareto(pairs: Sequence[Pair]) -> list[int]:
    """Returns which pairs no other one beats: low in the first number, high in the second.

    Args:
        pairs: finite numbers.

    Returns:
        Indices, in the order of the first number; the first index where pairs are equal.
    """
    order = sorted(range(len(pairs)), key=lambda at: (pairs[at][0], -pairs[at][1], at))
    front: list[int] = []
    for at in order:
        if not front or pairs[at][1] > pairs[front[-1]][1]:
            front.append(at)
    return front


def hypervolume(pairs: Sequence[Pair], reference: Pair) -> float:
    """Returns the area that pairs dominate up to a reference, the first low and the second high.

    Args:
        pairs: finite numbers; a pair that does not beat the reference in both adds nothing.
        reference: the worst first and second number that count.

    Returns:
        The area, 0 or more (Zitzler and Thiele, PPSN 1998).
    """
    right, floor = reference
    inside = [pair for pair in pairs if pair[0] < right and pair[1] > floor]
    front = [inside[at] for at in pareto(inside)]
    ends = [*(x for x, _ in front[1:]), right][: len(front)]
    return math.fsum((end - x) * (y - floor) for (x, y), end in zip(front, ends, strict=True))


def ranks(values: Sequence[float | None], *, highest_first: bool) -> list[int | None]:
    """Returns ranks from 1, equal ranks for equal values; None for None."""
    known = sorted((value for value in values if value is not None), reverse=highest_first)
    return [None if value is None else known.index(value) + 1 for value in values]
