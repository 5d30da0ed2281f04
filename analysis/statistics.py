"""What the report computes: intervals over seeds, fronts and choices. Pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtrit

Place = tuple[float, float]
_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds with its 95 % interval.

    Attributes:
        mean: of the values.
        low, high: ends of the interval; None of a single value, which has none.
        n: how many values.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


def interval(values: Sequence[float]) -> Estimate | None:
    """Mean and 95 % interval by Student's t; None of no values.

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
    """Mean and interval of `first - second` over the keys (seeds) that both have."""
    return interval([first[key] - second[key] for key in first if key in second])


def pareto(points: Sequence[Place]) -> list[int]:
    """Which points no other one beats: low in the first coordinate, high in the second.

    Args:
        points: finite pairs.

    Returns:
        Indices in order of the first coordinate; of equal points the first.
    """
    order = sorted(range(len(points)), key=lambda at: (points[at][0], -points[at][1], at))
    front: list[int] = []
    for at in order:
        if not front or points[at][1] > points[front[-1]][1]:
            front.append(at)
    return front


def hypervolume(points: Sequence[Place], reference: Place) -> float:
    """Area that points dominate up to a reference: as `pareto`, the first low, the second high.

    Args:
        points: finite pairs; those that do not beat the reference in both add nothing.
        reference: the worst first and second coordinate that count.

    Returns:
        The area, 0 or more (Zitzler and Thiele, PPSN 1998).
    """
    right, floor = reference
    inside = [point for point in points if point[0] < right and point[1] > floor]
    front = [inside[at] for at in pareto(inside)]
    ends = [*(x for x, _ in front[1:]), right][: len(front)]
    return math.fsum((end - x) * (y - floor) for (x, y), end in zip(front, ends, strict=True))


def choose(points: Sequence[Place], tolerance: float) -> int | None:
    """The point of the highest second coordinate among those that keep the first in bounds.

    Args:
        points: logarithms of the retain and of the forget distance over the original's.
        tolerance: how far above the original's the retain distance may be, 0.10 is 10 %.

    Returns:
        Its index, the first of equal ones; None where no point keeps within the tolerance.
    """
    most = math.log1p(tolerance) + 1e-12  # a trial on the limit is within it, whatever the rounding
    kept = [at for at, (retain, _) in enumerate(points) if retain <= most]
    return max(kept, key=lambda at: points[at][1], default=None)


def ranks(values: Sequence[float | None], *, highest_first: bool) -> list[int | None]:
    """Places from 1, equal values on equal places; None has none."""
    known = sorted((value for value in values if value is not None), reverse=highest_first)
    return [None if value is None else known.index(value) + 1 for value in values]
