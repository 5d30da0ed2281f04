"""Makes configurations from plain values with dotted names; all faults are told together."""

from __future__ import annotations

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from trainables.config.names import RENAMED_FIELDS
from trainables.config.trial import TrialConfig
from trainables.utils.errors import ConfigError
from trainables.utils.text import close_names, flatten


def from_dict(values: Mapping[str, Any]) -> TrialConfig:
    """Returns the trial whose values `to_dict` gave; an unknown name is refused.

    Raises:
        ConfigError: an unknown field, a value of another type, or one outside its range.
    """
    return apply_overrides(TrialConfig(), flatten(values))


@functools.cache
def field_types(cls: type = TrialConfig, prefix: str = "") -> Mapping[str, Any]:
    """Returns the type of every field of a configuration by its dotted name."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            found |= field_types(hint, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            found[prefix + name] = hint
    return types.MappingProxyType(found)


def field_hint(name: str, known: list[str]) -> str:
    """Returns ` (renamed: NEW)` or the close names of an unknown field; empty where none is."""
    renamed = RENAMED_FIELDS.get(name)
    return f" (renamed: {renamed})" if renamed else close_names(name, known)


def parse_value(name: str, text: str) -> Any:
    """Reads a field's value from a text by the field's type; commas separate a tuple's items.

    Raises:
        ConfigError: an unknown name (close ones listed) or a text that is not of the type.
    """
    known = field_types()
    if name not in known:
        raise ConfigError([f"unknown field {name!r}{field_hint(name, list(known))}"])
    return parse_text(name, known[name], text)


def parse_text(name: str, hint: Any, text: str) -> Any:
    """Reads a value of some type from a text.

    Args:
        name: what a message calls it.
        hint: `bool`, `int`, `float`, `str`, a `Literal` of texts or a tuple of texts.
        text: of the value.

    Raises:
        ConfigError: the text is not of the type.
    """
    try:
        if hint is bool:
            return {"true": True, "false": False}[text.lower()]
        if hint in (int, float):
            return hint(text)
    except (ValueError, KeyError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[hint]
        raise ConfigError([f"{name}={text!r} is not {wanted}"]) from None
    if get_origin(hint) is tuple:
        return tuple(item for item in text.split(",") if item)
    if get_origin(hint) is Literal and text not in get_args(hint):
        choices = [str(choice) for choice in get_args(hint)]
        raise ConfigError(
            [f"{name}={text!r} is not one of {', '.join(choices)}{close_names(text, choices)}"]
        )
    return text


def apply_overrides(config: TrialConfig, overrides: Mapping[str, Any]) -> TrialConfig:
    """Returns a copy with some fields replaced, which are named with dots.

    Raises:
        ConfigError: every unknown name, wrong type and value out of range, together.
    """
    problems: list[str] = []
    typed: dict[str, Any] = {}
    for name, value in overrides.items():
        try:
            typed[name] = _typed(name, value)
        except ConfigError as error:
            problems += error.problems
    try:
        result: TrialConfig = _replace(config, typed, "")
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return result


def _typed(name: str, value: Any) -> Any:
    hint = field_types().get(name)
    if hint is None:
        raise ConfigError([f"unknown field {name!r}{field_hint(name, list(field_types()))}"])
    if get_origin(hint) is tuple:
        # a text is a sequence too, of its letters
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise ConfigError([f"{name}={value!r} is not a list of texts"])
        return tuple(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wanted = str if get_origin(hint) is Literal else hint
    if isinstance(wanted, type) and (
        not isinstance(value, wanted) or (wanted is int and isinstance(value, bool))
    ):
        raise ConfigError([f"{name}={value!r} is not of type {wanted.__name__}"])
    return value


def _task_fault(name: str, line: str) -> str:
    """Names a fault of a task, whose section is there twice, by the field that holds it."""
    kind = "task."
    return f"{name}.{line.removeprefix(kind)}" if line.startswith(kind) else line


def _replace(config: Any, values: Mapping[str, Any], prefix: str) -> Any:
    changes: dict[str, Any] = {}
    problems: list[str] = []
    for each in dataclasses.fields(config):
        name = prefix + each.name
        current = getattr(config, each.name)
        if dataclasses.is_dataclass(current):
            below = {k: v for k, v in values.items() if k.startswith(name + ".")}
            if below:
                try:
                    changes[each.name] = _replace(current, below, name + ".")
                except ConfigError as error:
                    problems += [_task_fault(name, line) for line in error.problems]
        elif name in values:
            changes[each.name] = values[name]
    try:
        result = dataclasses.replace(config, **changes)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    return result
