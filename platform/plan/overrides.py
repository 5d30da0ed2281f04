"""The user's `--set key=value`: typed, every fault found, sorted by what each does to a study."""

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
_PATHS = ("data.root", "data.proxy_root", "data.split_file")  # a comma may be part of them
_SEVERAL_PATHS = ("checkpoint",)
_LEAST = {"trials": 0, "sobol_trials": 0, "generation": 1, "replicates": 0}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the user asks of a study.

    Attributes:
        pinned: dotted fields that have one value in every trial.
        axes: dotted fields whose values are enumerated; under `method`, the only ones to run.
        search: fields of `SearchConfig`.
        scoped: what holds for one model alone, or for the models of one family, and goes before
            the others; a model's own goes before its family's.
    """

    pinned: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    search: dict[str, Any] = field(default_factory=dict)
    scoped: dict[str, Settings] = field(default_factory=dict)

    def of_model(self, model: str) -> Settings:
        """What holds for a model."""
        held = self
        for scope in (family_of(model), model):
            held = _over(held, self.scoped.get(scope, Settings()))
        return held


def family_of(model: str) -> str:
    """The family of a model: `mage` of `mage_vit_base_patch16`."""
    return model.partition("_")[0]


def _over(first: Settings, then: Settings) -> Settings:
    """The first settings, with those of the second in their place."""
    return Settings(
        pinned={n: v for n, v in first.pinned.items() if n not in then.axes} | then.pinned,
        axes={n: v for n, v in first.axes.items() if n not in then.pinned} | then.axes,
        search=first.search | then.search,
    )


def parse_settings(texts: Iterable[str]) -> tuple[Settings, list[str]]:
    """The settings that are right, and a line for each that is wrong.

    Args:
        texts: `key=value`, or `model/key=value` for one model or one family alone. Commas separate
            the items of a field that holds several, such as `data.forget`, and the values to
            enumerate of any other.
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
            faults += _take_scoped(settings, name, value)
        seen.add(name)
    return settings, faults


def _take_scoped(settings: Settings, name: str, text: str) -> list[str]:
    scope, slash, field_name = name.rpartition("/")
    if not slash:
        return _take(settings, name, text)
    scopes = [*get_args(ModelName), *get_args(FamilyName)]
    if scope not in scopes:
        return [f"{name}: unknown model {scope!r}{close_names(scope, scopes)}"]
    if field_name == "model":
        return [f"{name}: a setting of one model cannot name another"]
    if field_name not in known_fields():
        return [_unknown(field_name, name)]
    own = settings.scoped.setdefault(scope, Settings())
    return [f"{scope}/{fault}" for fault in _take(own, field_name, text)]


def _unknown(field_name: str, name: str) -> str:
    hint = field_hint(field_name, known_fields())
    return f"unknown field {name!r}{hint or '; --fields lists them'}"


def known_fields() -> list[str]:
    """Every name that `--set` takes."""
    return [*field_types(), *(_SEARCH + each.name for each in dataclasses.fields(SearchConfig))]


def _take(settings: Settings, name: str, text: str) -> list[str]:
    """Puts one setting where it belongs; returns its faults."""
    if name not in known_fields():
        return [_unknown(name, name)]
    if name.startswith(_SEARCH):
        return _take_search(settings, name.removeprefix(_SEARCH), text)
    if get_origin(field_types()[name]) is tuple:
        items = tuple(item.strip() for item in text.split(",") if item.strip())
        settings.pinned[name] = tuple(map(_path, items)) if name in _SEVERAL_PATHS else items
        return []
    if name in _PATHS and text:
        settings.pinned[name] = _path(text)
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


def _path(text: str) -> str:
    """Absolute, since trials run elsewhere, and a resumed sweep may."""
    return str(Path(text).expanduser().absolute())


def _value(name: str, text: str) -> Any:
    if not text:
        raise ConfigError([f"{name} has an empty value"])
    return parse_value(name, text)


def search_faults(search: SearchConfig) -> list[str]:
    """What of a study's search is not as its fields ask, a line each."""
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


def _take_search(settings: Settings, name: str, text: str) -> list[str]:
    try:
        value = parse_text(f"{_SEARCH}{name}", get_type_hints(SearchConfig)[name], text)
    except ConfigError as error:
        return error.problems
    if name in _LEAST and value < _LEAST[name]:
        return [f"search.{name}={value} is below {_LEAST[name]}"]
    settings.search[name] = value
    return []
