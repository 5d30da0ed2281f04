"""Configurations from plain values: every field reached by name and typed."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from tests.helpers.fields import CHANGEABLE, FIELDS, another, changed, problems
from trainables.config import TrialConfig, to_dict
from trainables.config.overrides import apply_overrides, from_dict, parse_value
from trainables.methods import METHODS
from trainables.utils.errors import ConfigError
from trainables.utils.text import close_names, flatten


def test_every_field_of_the_dictionary_has_a_dotted_name() -> None:
    assert set(flatten(to_dict(TrialConfig()))) == set(FIELDS)
    assert {"data.image_size", "unlearn.lr", "pretrain.steps", "retain_source"} <= set(FIELDS)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_reached_by_its_name_and_typed(name: str) -> None:
    value = parse_value(name, another(name))
    changed = flatten(dataclasses.asdict(apply_overrides(TrialConfig(), {name: value})))
    before = flatten(dataclasses.asdict(TrialConfig()))
    assert changed[name] == value
    assert type(changed[name]) is type(before[name])
    assert {each for each in FIELDS if changed[each] != before[each]} == {name} & set(CHANGEABLE)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("data.strict", "true", True),
        ("data.strict", "False", False),
        ("unlearn.steps", "7", 7),
        ("unlearn.lr", "1e-4", 1e-4),
        ("unlearn.lr", "1", 1.0),
        ("data.forget", "china,coffee", ("china", "coffee")),
        ("data.forget", "china", ("china",)),
        ("data.forget", "", ()),
        ("data.root", "a,b", "a,b"),
        ("test_task.kind", "outpaint", "outpaint"),
        ("seed", "-1", -1),
    ],
)
def test_texts_become_the_fields_type(name: str, text: str, value: Any) -> None:
    parsed = parse_value(name, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("data.strict", "yes", "data.strict='yes' is not true or false"),
        ("unlearn.steps", "1.5", "unlearn.steps='1.5' is not a whole number"),
        ("unlearn.lr", "fast", "unlearn.lr='fast' is not a number"),
        ("method", "our", "method='our' is not one of"),
        ("forget_alfa", "1", "unknown field 'forget_alfa' (close: forget_alpha"),
        ("lr", "1", "unknown field 'lr' (close: "),
    ],
)
def test_texts_of_another_type_are_refused_by_name(name: str, text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_value(name, text)
    assert str(caught.value).startswith(line)


def test_close_names_are_found_by_letters_and_by_last_part() -> None:
    assert "ours" in close_names("our", list(METHODS))
    assert "unlearn.lr" in close_names("lr", FIELDS)
    assert close_names("zzzzzz", FIELDS) == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data.forget", "china"),
        ("data.forget", None),
        ("data.forget", [1, 2]),
        ("seed", True),
        ("seed", 1.0),
        ("forget_alpha", "0.5"),
        ("forget_alpha", True),
        ("data.strict", 1),
        ("data.root", None),
        ("method", 3),
    ],
)
def test_values_of_another_type_are_refused(name: str, value: Any) -> None:
    assert [line.split("=")[0] for line in problems({name: value})] == [name]


def test_a_configuration_survives_its_dictionary_and_json() -> None:
    config = changed()
    assert config != TrialConfig()
    assert from_dict(to_dict(config)) == config
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_a_dictionary_with_unknown_names_is_refused() -> None:
    values = to_dict(TrialConfig())
    values["data"]["colour"] = 1
    values["speed"] = 2
    with pytest.raises(ConfigError) as caught:
        from_dict(values)
    assert len(caught.value.problems) == 2
