"""The user's `--set key=value`: typed, every fault found, sorted by what each does to a study."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_origin

from search_spaces.study import SearchConfig
from trainables.errors import ConfigError
from trainables.overrides import close_names, field_types, parse_value

_SEARCH = "search."
_PATHS = ("data.root", "data.split_file")  # a comma may be part of them
_LEAST = {"trials": 0, "sobol_trials": 0, "generation": 1}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user asks of a study.

    Attributes:
        pinned: dotted fields that have one value in every trial.
        axes: dotted fields whose values are enumerated; under `method`, the only ones to run.
        search: fields of `SearchConfig`.
    """

    pinned: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    search: dict[str, int] = field(default_factory=dict)


def parse_settings(texts: Iterable[str]) -> tuple[Settings, list[str]]:
    """The settings that are right, and a line for each that is wrong.

    Args:
        texts: `key=value`. Commas separate the items of a field that holds several, such as
            `data.forget`, and the values to enumerate of any other.
    """
    settings, faults = Settings(), []
    seen: set[str] = set()
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            faults.append(f"--set {text!r} is not key=value")
        elif name in seen:
            faults.append(f"{name} is set twice")
        else:
            faults += _take(settings, name, value)
        seen.add(name)
    return settings, faults


def known_fields() -> list[str]:
    """Every name that `--set` takes."""
    return [*field_types(), *(_SEARCH + each.name for each in dataclasses.fields(SearchConfig))]


def _take(settings: Settings, name: str, text: str) -> list[str]:
    """Puts one setting where it belongs; returns its faults."""
    if name not in known_fields():
        return [f"unknown field {name!r}{close_names(name, known_fields())}"]
    if name.startswith(_SEARCH):
        return _take_search(settings, name.removeprefix(_SEARCH), text)
    if get_origin(field_types()[name]) is tuple:
        settings.pinned[name] = tuple(item.strip() for item in text.split(",") if item.strip())
        return []
    if name in _PATHS and text:
        # trials run elsewhere, and a resumed sweep may be
        settings.pinned[name] = str(Path(text).expanduser().absolute())
        return []
    values, faults = [], []
    for item in (item.strip() for item in text.split(",")):
        try:
            values.append(_value(name, item))
        except ConfigError as error:
            faults += error.problems
    if faults:
        return faults
    if len(values) > 1 or name == "method":
        settings.axes[name] = tuple(dict.fromkeys(values))
    else:
        settings.pinned[name] = values[0]
    return []


def _value(name: str, text: str) -> Any:
    if not text:
        raise ConfigError([f"{name} has an empty value"])
    return parse_value(name, text)


def _take_search(settings: Settings, name: str, text: str) -> list[str]:
    least = _LEAST[name]
    try:
        value = int(text)
    except ValueError:
        return [f"search.{name}={text!r} is not a whole number"]
    if value < least:
        return [f"search.{name}={value} is below {least}"]
    settings.search[name] = value
    return []
