"""Checks the fields of a configuration's section against their types and ranges."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args, get_origin, get_type_hints

from trainables.utils.errors import ConfigError

# of each section; a sweep may have thousands of them
_hints: dict[type, dict[str, Any]] = {}


class Checked:
    """Collects every fault of a configuration, so that a user mends them in one go."""

    def __post_init__(self) -> None:
        problems = [f"{self._section()}{text}" for wrong, text in self._faults() if wrong]
        kind = type(self)
        if kind not in _hints:
            _hints[kind] = get_type_hints(kind)
        for name, hint in _hints[kind].items():
            value = getattr(self, name)
            shown = f"{self._section()}{name}={value}"
            if any(text.startswith(shown) for text in problems):
                continue
            if get_origin(hint) is Literal and value not in get_args(hint):
                problems.append(f"{shown} is not one of {', '.join(get_args(hint))}")
            elif hint is float and not math.isfinite(value):
                problems.append(f"{shown} is not a finite number")
            elif hint is float:
                # 1 and 1.0 are equal, so their keys must be
                object.__setattr__(self, name, float(value))
        if problems:
            raise ConfigError(problems)

    def _section(self) -> str:
        """Returns what precedes a field's name on the command line, as far as the class tells."""
        name = type(self).__name__.removesuffix("Config").lower()
        return "" if name == "trial" else f"{name}."

    def _faults(self) -> list[tuple[bool, str]]:
        """Returns pairs of whether a field is wrong, and the line that says so."""
        return []

    def _below(self, least: int, *names: str) -> list[tuple[bool, str]]:
        """Returns a fault for each of these fields, which is one if it is below `least`."""
        return [
            (getattr(self, name) < least, f"{name}={getattr(self, name)} is below {least}")
            for name in names
        ]
