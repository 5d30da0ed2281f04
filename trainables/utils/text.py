"""Writes numbers and durations in words."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Such as `1 trial` and `3 trials`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """Such as `42 s`, `3 min 05 s`, `2 h 10 min` or `12 days 04 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 10 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} days {whole % 86400 // 3600:02d} h"
