"""A trial's configuration: every field reached by name and typed, every fault named at once."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

import pytest

from trainables.config import (
    REFERENCES,
    MethodName,
    ModelName,
    NetworksConfig,
    SourceName,
    TrialConfig,
    retain_share,
    to_dict,
)
from trainables.config.overrides import (
    apply_overrides,
    field_types,
    flatten,
    from_dict,
    parse_value,
)
from trainables.data import SOURCES
from trainables.methods import METHODS
from trainables.models import MODELS
from trainables.utils.errors import ConfigError
from trainables.utils.hashing import content_key
from trainables.utils.text import close_names

FIELDS = list(field_types())


def problems(overrides: Mapping[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        apply_overrides(TrialConfig(), overrides)
    return caught.value.problems


# refused beside the other defaults: of the published sets, or of a noise bank
_NOT_ALONE = (
    *("data.root", "data.proxy_source", "data.store", "data.augment", "unlearn.token_cache"),
)


_OTHERS = {
    "data.source": "photos",
    "method": "random_encoder",  # not retrained, which a checkpoint excludes
    "retain_source": "1:3",
    "data.image_size": "64",
    "pretrain.tasks": "centre:0.25,random:0.75",
    "more_tests": "centre:0.25,random:0.75",
    # even, for two parts
    "unlearn.forget_batch": "34",
    "unlearn.retain_batch": "34",
}


def another(name: str) -> str:
    """A text for a value that the field may have, not its default where there is another."""
    hint = field_types()[name]
    default = flatten(to_dict(TrialConfig()))[name]
    if name in _OTHERS:
        return _OTHERS[name]
    if name in _NOT_ALONE:
        return str(default).lower()
    if get_origin(hint) is Literal:
        others = [choice for choice in get_args(hint) if choice != default]
        return str(others[-1] if others else default)
    if hint is bool:
        return str(not default).lower()
    if hint is float:
        return str(default / 2 or 0.5)
    if hint is int:
        return str(default + 1)
    return f"{name}-a,{name}-b" if get_origin(hint) is tuple else "somewhere"


CHANGEABLE = [
    name
    for name in FIELDS
    if name not in _NOT_ALONE
    and parse_value(name, another(name)) != flatten(to_dict(TrialConfig()))[name]
]
# neither how images are read nor when snapshots are written changes a result; the bank is MAGE's
_UNCOUNTED = ("loader.", "unlearn.save_every", "unlearn.noise_bank")
COUNTED = [name for name in CHANGEABLE if not name.startswith(_UNCOUNTED)]


# --- Names -----------------------------------------------------------------------------------


def test_names_are_those_of_the_tables() -> None:
    assert set(get_args(ModelName)) == set(MODELS)
    assert set(get_args(MethodName)) == set(METHODS)
    assert set(get_args(SourceName)) == set(SOURCES)


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


# --- Faults ----------------------------------------------------------------------------------


def test_all_faults_are_reported_together() -> None:
    found = problems(
        {
            "forget_alfa": 1.0,
            "unlearn.steps": 0,
            "unlearn.lr": "fast",
            "data.image_size": 4,
            "data.seed": 1.5,
            "method": "theirs",
            "retain_source": "half",
        }
    )
    assert len(found) == 7
    for part in (
        "forget_alfa",
        "unlearn.steps=0",
        "unlearn.lr='fast'",
        "data.image_size=4",
        "data.seed=1.5",
        "method=theirs",
        "retain_source='half'",
    ):
        assert sum(line.count(part) for line in found) == 1, part


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


FLOATS = [name for name, hint in field_types().items() if hint is float]


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_may_be_nan_or_infinite(name: str, value: float) -> None:
    assert len(problems({name: value})) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data.image_size", 7),
        ("data.train_per_class", 0),
        ("pretrain.steps", 0),
        ("pretrain.batch_size", 0),
        ("pretrain.threads", 0),
        ("pretrain.beta1", 1.0),
        ("pretrain.beta2", -0.1),
        ("unlearn.lr", 0.0),
        ("unlearn.clip", 0.0),
        ("unlearn.weight_decay", -1.0),
        ("unlearn.warmup", 1.1),
        ("unlearn.eval_every", 0),
        ("unlearn.forget_batch", 0),
        ("extractor.dim", 0),
        ("extractor.steps", 0),
        ("extractor.lr", 0.0),
        ("evaluation.seed", -1),
        ("evaluation.is_splits", 0),
        ("evaluation.retain_tolerance", -0.1),
        ("forget_alpha", -0.1),
    ],
)
def test_values_out_of_range_are_refused_by_their_whole_name(name: str, value: float) -> None:
    [line] = problems({name: value})
    assert line.startswith(f"{name}={value} ")


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.5, 2.0])
def test_a_task_removes_a_part_and_keeps_a_part(ratio: float) -> None:
    for task in ("train_task", "test_task"):
        [line] = problems({f"{task}.ratio": ratio})
        assert line == f"{task}.ratio={ratio} is outside (0, 1)"


def test_a_class_has_one_role_and_a_folder_has_a_root() -> None:
    found = problems(
        {
            "data.forget": ["a", "b"],
            "data.retain": ["b"],
            "data.proxy": ["a"],
            "data.source": "folder",
        }
    )
    assert len(found) == 3
    assert any("data.root" in line for line in found)
    assert any("forget and data.retain" in line and "'b'" in line for line in found)
    assert any("forget and data.proxy" in line and "'a'" in line for line in found)


def test_a_root_is_refused_where_no_source_reads_it() -> None:
    [line] = problems({"data.root": "/photos"})
    assert "data.root=/photos is not read by data.source=photos" in line
    assert "--set data.source=folder" in line
    one, other = (
        apply_overrides(TrialConfig(), {"data.source": "folder", "data.root": root})
        for root in ("/one", "/other")
    )
    assert one.key() != other.key()


def test_retain_label_needs_retain_rows() -> None:
    [line] = problems({"method": "retain_label", "retain_source": "none"})
    assert "retain_source=none" in line
    apply_overrides(TrialConfig(), {"method": "ours", "retain_source": "none"})


def test_what_is_retrained_needs_an_original_that_is_trained() -> None:
    [line] = problems({"method": "retrained", "checkpoint": ["mae.pth"]})
    assert "checkpoint names published weights" in line
    assert "options of pretrain." in line


@pytest.mark.parametrize("text", ["centre", "middle:0.5", "centre:1.5", "centre:nan", ":0.5", ""])
def test_a_further_test_is_a_kind_and_a_ratio(text: str) -> None:
    [line] = problems({"more_tests": [text]})
    assert line.startswith(f"more_tests={text!r} is not kind:ratio")


def test_a_further_test_counts_once() -> None:
    one = TrialConfig(more_tests=("centre:0.25", "outpaint:0.25"))
    assert [task.name for task in one.further_tests()] == ["centre_0.25", "outpaint_0.25"]
    repeated = ("outpaint:.25", "centre:0.5", "centre:0.250", "outpaint:0.25")
    same = TrialConfig(more_tests=repeated)  # the second is the test task
    assert len(same.further_tests()) == 2
    assert same.key() == one.key() != TrialConfig().key()
    assert TrialConfig(more_tests=("centre:0.5",)).key() == TrialConfig().key()
    elsewhere = apply_overrides(same, {"test_task.ratio": 0.25})
    assert [task.name for task in elsewhere.further_tests()] == ["outpaint_0.25", "centre_0.5"]


def test_an_error_survives_a_process_boundary() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(ConfigError(["one", "two"])))
    assert error.problems == ["one", "two"]
    assert str(error) == "one; two"


# --- Retain source ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "share"),
    [
        ("real", 1.0),
        ("proxy", 0.0),
        ("none", None),
        ("0.25", 0.25),
        ("0", 0.0),
        ("1", 1.0),
        ("1:3", 0.25),
        ("3:1", 0.75),
        ("0:1", 0.0),
        ("2:0", 1.0),
    ],
)
def test_forms_of_the_retain_source(source: str, share: float | None) -> None:
    assert retain_share(source) == share
    assert TrialConfig(retain_source=source).retain_source == source


@pytest.mark.parametrize(
    "source", ["", "half", "1.5", "-0.5", "nan", "inf", "0:0", "-1:-1", "1:-0.5", "1:", "1:2:3"]
)
def test_other_retain_sources_are_refused(source: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is float's or the text itself
        retain_share(source)
    [line] = problems({"retain_source": source})
    assert line.startswith(f"retain_source={source!r} is not real")


# --- Dictionaries and keys -------------------------------------------------------------------


def changed() -> TrialConfig:
    return apply_overrides(
        TrialConfig(), {name: parse_value(name, another(name)) for name in CHANGEABLE}
    )


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


def test_a_configuration_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrialConfig().seed = 1  # type: ignore[misc]


def test_keys_are_the_same_in_another_process_with_fields_in_another_order() -> None:
    config = changed()
    values = json.dumps(to_dict(config))
    program = (
        "import json, sys\n"
        "from trainables.config.overrides import from_dict\n"
        "def turn(v): return {k: turn(v[k]) for k in reversed(v)} if isinstance(v, dict) else v\n"
        "print(from_dict(turn(json.loads(sys.argv[1]))).key())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, values],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7"},
    )
    assert done.stdout.strip() == config.key()
    assert re.fullmatch("[0-9a-f]{12}", config.key())


@pytest.mark.parametrize("name", COUNTED)
def test_every_field_changes_the_key(name: str) -> None:
    # a model that reads every field, and the networks that read theirs
    config = TrialConfig(model="palette_tiny")
    if name.startswith("networks."):
        paper = NetworksConfig(
            features="inception", probabilities="places365", embeddings="ViT-H-14"
        )
        changes = getattr(paper, name.removeprefix("networks.")) != another(name)
        config = dataclasses.replace(config, networks=paper if changes else NetworksConfig())
    other = apply_overrides(config, {name: parse_value(name, another(name))})
    assert other.key() != config.key()


def test_equal_configurations_have_equal_keys() -> None:
    whole = TrialConfig(forget_alpha=1, unlearn=dataclasses.replace(TrialConfig().unlearn, clip=2))
    exact = TrialConfig(
        forget_alpha=1.0, unlearn=dataclasses.replace(TrialConfig().unlearn, clip=2.0)
    )
    assert whole == exact
    assert whole.key() == exact.key()


IGNORED = {
    "forget_alpha": 0.9,
    "retain_source": "proxy",
    "formulation": "released",
    "unlearn.lr": 0.01,
    "train_task.ratio": 0.75,
}


@pytest.mark.parametrize("name", IGNORED)
@pytest.mark.parametrize("method", REFERENCES)
def test_a_reference_ignores_what_only_unlearning_reads(method: MethodName, name: str) -> None:
    original = TrialConfig(method=method)
    assert apply_overrides(original, {name: IGNORED[name]}).key() == original.key()
    trained = TrialConfig(method="max_loss")
    assert apply_overrides(trained, {name: IGNORED[name]}).key() != trained.key()


@pytest.mark.parametrize("name", ["data.seed", "pretrain.steps", "test_task.ratio", "more_tests"])
@pytest.mark.parametrize("method", REFERENCES)
def test_a_reference_keeps_what_changes_it(method: MethodName, name: str) -> None:
    original = TrialConfig(method=method)
    other = apply_overrides(original, {name: parse_value(name, another(name))})
    assert other.key() != original.key()


def test_a_key_does_not_depend_on_the_order_of_names() -> None:
    assert content_key({"a": 1, "b": [1, 2]}) == content_key({"b": [1, 2], "a": 1})
    assert content_key({"a": 1, "b": [1, 2]}) != content_key({"a": 1, "b": [2, 1]})


def test_no_key_is_made_of_nan() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        content_key({"a": math.nan})


# --- Imports ---------------------------------------------------------------------------------


def test_configurations_import_no_heavy_library() -> None:
    program = (
        "import sys, trainables.config, trainables.config.overrides\n"
        "heavy = {'torch', 'numpy', 'PIL', 'pyarrow', 'sklearn', 'skimage', 'matplotlib', 'ray'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
