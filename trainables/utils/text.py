"""Puts errors, numbers and durations into words, and names values that are nested."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, such as `1 trial` or `3 trials`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """Returns a time such as `42 s`, `3 min 05 s`, `2 h 10 min` or `12 days 04 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 10 * 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} days {whole % 86400 // 3600:02d} h"


def close_names(name: str, known: list[str]) -> str:
    """Returns a hint such as ` (close: forget_alpha)`; empty where no known name is close."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    near += [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2] and k not in near]
    return f" (close: {', '.join(near[:3])})" if near else ""


def first_few(names: Sequence[str], most: int) -> str:
    """Returns the first names with commas between them, and `, ...` where there are more."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def one_line(error: BaseException | str, most: int | None = 200) -> str:
    """Returns an error, or a text, on one line.

    Args:
        error: the error, or the text; an error without a message is named by its type.
        most: characters that are kept, 1 or more; None keeps all.
    """
    line = " ".join(str(error).split())[:most]
    return line or (type(error).__name__ if isinstance(error, BaseException) else "")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested mappings, such as a configuration, as one mapping of dotted names."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
