"""Limits how far a session of a sweep may go; no limit changes a result, so plans hold none."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What ends a session before its sweep is over, and when a trial counts as failed.

    Attributes:
        max_failures: lost attempts of a trial that are made again, where another may end well.
        time_budget_s: seconds from the session's start after which it stops; None for no end.
        trials: most trials that the session starts; None for all.
    """

    max_failures: int = 2
    time_budget_s: float | None = None
    trials: int | None = None


def seconds(text: str) -> float:
    """Returns the seconds of a span of time such as `90`, `90s`, `45m`, `2h` or `1h30m`.

    Raises:
        ValueError: the text is no span of time, or one of no length.
    """
    found = _SPAN.fullmatch(text.strip())
    parts = [float(part or 0) for part in found.groups()] if found else []
    total = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if total <= 0:
        raise ValueError(text)
    return total
