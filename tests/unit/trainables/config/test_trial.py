"""A trial's configuration: every field reached by name and typed, every fault named at once."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from typing import get_args

import pytest

from tests.helpers.fields import COUNTED, another, changed, problems
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
    parse_value,
)
from trainables.data import SOURCES
from trainables.methods import METHODS
from trainables.models import MODELS
from trainables.utils.errors import ConfigError

# --- Names -----------------------------------------------------------------------------------


def test_names_are_those_of_the_tables() -> None:
    assert set(get_args(ModelName)) == set(MODELS)
    assert set(get_args(MethodName)) == set(METHODS)
    assert set(get_args(SourceName)) == set(SOURCES)


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


def test_retain_label_needs_retain_rows() -> None:
    [line] = problems({"method": "retain_label", "retain_source": "none"})
    assert "retain_source=none" in line
    apply_overrides(TrialConfig(), {"method": "ours", "retain_source": "none"})


def test_what_is_retrained_needs_an_original_that_is_trained() -> None:
    [line] = problems({"method": "retrained", "checkpoint": ["mae.pth"]})
    assert "checkpoint names published weights" in line
    assert "options of pretrain." in line


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
