"""Parses the user's `--set KEY=VALUE`: gives each its type, finds every fault, sorts by effect."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from search_spaces.study import SearchConfig
from trainables.config import FamilyName, ModelName
from trainables.config.overrides import field_hint, field_types, parse_text, parse_value
from trainables.utils.errors import ConfigError
from trainables.utils.text import close_names

_SEARCH = "search."
_TRIALS = "search.trials"  # of the search, the one field that a model may have its own of
_PATHS = ("data.root", "data.proxy_root", "data.split_file")  # a comma may be part of them
_SEVERAL_PATHS = ("checkpoint",)
_LEAST = {"trials": 0, "sobol_trials": 0, "generation": 1, "replicates": 0}


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the user asks of a study by `--set`.

    Attributes:
        pinned: dotted fields that have one value in every trial.
        axes: dotted fields whose values are enumerated; those of `method` are the only ones to run.
        search: fields of `SearchConfig`.
        scoped: the overrides of one model or one family, by its name; they win over the others,
            and a model's own over its family's.
    """

    pinned: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)
    scoped: dict[str, Overrides] = field(default_factory=dict)

    def of_model(self, model: str) -> Overrides:
        """Returns the overrides that hold for a model."""
        held = self
        for scope in (family_of(model), model):
            held = _over(held, self.scoped.get(scope, Overrides()))
        return held


def family_of(model: str) -> str:
    """Returns the family of a model, such as `mage` for `mage_vit_base_patch16`."""
    return model.partition("_")[0]


def _over(first: Overrides, then: Overrides) -> Overrides:
    """Returns the first overrides; where both name a field, the second win."""
    return Overrides(
        pinned={n: v for n, v in first.pinned.items() if n not in then.axes} | then.pinned,
        axes={n: v for n, v in first.axes.items() if n not in then.pinned} | then.axes,
        search=first.search | then.search,
    )


def parse_overrides(texts: Iterable[str]) -> tuple[Overrides, list[str]]:
    """Returns the overrides that are right, and a line for each that is wrong.

    Args:
        texts: `KEY=VALUE`, or `MODEL/KEY=VALUE` for one model or one family alone. Commas separate
            the items of a field that holds several, such as `data.forget`; for any other field,
            the values to enumerate.
    """
    overrides, faults = Overrides(), []
    seen: set[str] = set()
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not name:
            faults.append(f"--set {text!r} is not key=value")
        elif name in seen:
            faults.append(f"{name} is set twice")
        else:
            faults += _take_scoped(overrides, name, value)
        seen.add(name)
    return overrides, faults


def _take_scoped(overrides: Overrides, name: str, text: str) -> list[str]:
    scope, slash, field_name = name.rpartition("/")
    if not slash:
        return _take(overrides, name, text)
    scopes = [*get_args(ModelName), *get_args(FamilyName)]
    if scope not in scopes:
        return [f"{name}: unknown model {scope!r}{close_names(scope, scopes)}"]
    if field_name == "model":
        return [f"{name}: --set of one model cannot name another"]
    if field_name not in known_fields():
        return [_unknown(field_name, name)]
    if field_name.startswith(_SEARCH) and field_name != _TRIALS:
        return [f"{name} is the same for all models: leave out {scope}/"]
    own = overrides.scoped.setdefault(scope, Overrides())
    return [f"{scope}/{fault}" for fault in _take(own, field_name, text)]


def _unknown(field_name: str, name: str) -> str:
    hint = field_hint(field_name, known_fields())
    return f"unknown field {name!r}{hint or '; --fields lists them'}"


def known_fields() -> list[str]:
    """Returns every name that `--set` takes."""
    return [*field_types(), *(_SEARCH + each.name for each in dataclasses.fields(SearchConfig))]


def _take(overrides: Overrides, name: str, text: str) -> list[str]:
    """Puts one override where it belongs; returns its faults."""
    if name not in known_fields():
        return [_unknown(name, name)]
    if name.startswith(_SEARCH):
        return _take_search(overrides, name.removeprefix(_SEARCH), text)
    if get_origin(field_types()[name]) is tuple:
        items = tuple(item.strip() for item in text.split(",") if item.strip())
        overrides.pinned[name] = tuple(map(_path, items)) if name in _SEVERAL_PATHS else items
        return []
    if name in _PATHS and text:
        overrides.pinned[name] = _path(text)
        return []
    values, faults = [], []
    for item in (item.strip() for item in text.split(",")):
        try:
            if not item:
                raise ConfigError([f"{name} has an empty value"])
            values.append(parse_value(name, item))
        except ConfigError as error:
            faults += error.problems
    if faults:
        return faults
    if len(values) > 1 or name == "method":
        overrides.axes[name] = tuple(dict.fromkeys(values))
    else:
        overrides.pinned[name] = values[0]
    return []


def _path(text: str) -> str:
    """Returns an absolute path: trials run in other folders, and a resumed sweep may."""
    return str(Path(text).expanduser().absolute())


def search_faults(search: SearchConfig) -> list[str]:
    """Returns a line for each field of a study's search that has a wrong type, choice or range."""
    faults = []
    for name, hint in get_type_hints(SearchConfig).items():
        value = getattr(search, name)
        choices = get_args(hint)
        if choices and value not in choices:
            faults.append(f"search.{name}={value!r} is not one of {', '.join(choices)}")
        elif not choices and type(value) is not hint:
            faults.append(f"search.{name}={value!r} is not of type {hint.__name__}")
        elif name in _LEAST and value < _LEAST[name]:
            faults.append(f"search.{name}={value} is below {_LEAST[name]}")
    return faults


def _take_search(overrides: Overrides, name: str, text: str) -> list[str]:
    try:
        value = parse_text(f"{_SEARCH}{name}", get_type_hints(SearchConfig)[name], text)
    except ConfigError as error:
        return error.problems
    if name in _LEAST and value < _LEAST[name]:
        return [f"search.{name}={value} is below {_LEAST[name]}"]
    overrides.search[name] = value
    return []
