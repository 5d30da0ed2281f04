"""When each field of a trial is read: declared for all of them, and what is not read is refused."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, get_args

import pytest

from tests.helpers.fields import another
from tests.helpers.tiny import tiny
from trainables.config import MethodName, ModelName, TrialConfig
from trainables.config.names import DDIM_MODELS
from trainables.config.overrides import apply_overrides, field_types, parse_value
from trainables.config.readers import DEFAULTS, READERS, refuse_unread, unread
from trainables.models import MODELS
from trainables.models.palette import Palette
from trainables.training.context import Context
from trainables.trial import run_trial
from trainables.utils.errors import ConfigError

# together they have each field read, and each that can be ignored ignored
SURROUNDINGS: tuple[dict[str, Any], ...] = (
    {},
    {"method": "original"},
    {"method": "original", "checkpoint": ["a"]},
    {"method": "retrained"},
    {"checkpoint": ["a"]},
    {"model": "mage_tiny"},
    {"model": "mage_tiny", "method": "max_loss"},
    {"model": "mage_tiny", "method": "original"},
    {"model": "palette_tiny"},
    {"model": "palette_tiny", "sampling.sampler": "ancestral"},
    {"model": "palette_places2"},
    {"retain_source": "none"},
    {"retain_source": "proxy"},
    {"retain_source": "real", "unlearn.retainset_ratio": 1.0},
    {"loader.workers": 1},
    {"unlearn.warmup": 1.0, "pretrain.warmup": 1.0},
    {"data.forget": ["coffee"], "data.retain": ["coins"]},
    {"data.split_file": "roles.csv"},
    {
        "data.source": "imagenet",
        "data.root": "r",
        "data.store": "parquet",
        "data.augment": True,
        "data.proxy_source": "coco",
        "data.proxy_root": "c",
    },
    {"networks.features": "inception"},
    {"networks.probabilities": "places365"},
    {"networks.embeddings": "ViT-H-14"},
    {"networks.embeddings": "local-dir:x"},
    {
        "networks.features": "inception",
        "networks.probabilities": "places365",
        "networks.embeddings": "local-dir:x",
    },
)
CONFIGS = [apply_overrides(TrialConfig(), given) for given in SURROUNDINGS]
IGNORABLE = [name for name, reader in READERS.items() if reader.when]


def test_every_field_of_a_trial_says_when_it_is_read() -> None:
    assert set(READERS) == set(field_types())


@pytest.mark.parametrize("name", READERS)
def test_a_field_is_read_somewhere_and_ignored_where_it_says_so(name: str) -> None:
    reads = {READERS[name].reads(config) for config in CONFIGS}
    assert reads == ({True, False} if name in IGNORABLE else {True})


@pytest.mark.parametrize("name", IGNORABLE)
def test_a_field_that_no_trial_reads_is_told_of_in_a_line_unless_it_has_its_default(
    name: str,
) -> None:
    ignoring = [config for config in CONFIGS if not READERS[name].reads(config)]
    reading = [config for config in CONFIGS if READERS[name].reads(config)]
    value = "none" if DEFAULTS[name] != "none" else "other"
    line = unread(name, value, ignoring)
    assert line == (
        f"{name}={value} changes nothing here: it is read only {READERS[name].when}; leave it out"
    )
    # a grid may set what only some of its trials read
    assert unread(name, value, [*ignoring, reading[0]]) is None
    assert unread(name, DEFAULTS[name], ignoring) is None


# what is read and changes no result; and the further tests, of which the test task is none
READ_ALL_THE_SAME = ("loader.", "unlearn.save_every", "more_tests")


@pytest.mark.parametrize("name", [n for n in READERS if not n.startswith(READ_ALL_THE_SAME)])
def test_what_cannot_change_a_trials_key_is_not_read(name: str) -> None:
    value = parse_value(name, another(name))
    for config in CONFIGS:
        try:
            changed = apply_overrides(config, {name: value})
        except ConfigError:
            continue
        if changed != config and changed.key() == config.key():
            assert not READERS[name].reads(config), config


def test_a_trial_may_have_every_default() -> None:
    for model in get_args(ModelName):
        for method in get_args(MethodName):
            refuse_unread(TrialConfig(model=model, method=method))


def test_the_models_that_sample_by_ddim_are_named() -> None:
    usual = inspect.signature(Palette).parameters["sampler"].default
    palettes = {name: options for name, (family, options) in MODELS.items() if family == "palette"}
    found = {name for name, options in palettes.items() if options.get("sampler", usual) == "ddim"}
    assert found == set(DDIM_MODELS)


def test_a_trial_alone_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    context = Context(folder=tmp_path / "trial", cache=tmp_path / "cache")
    with pytest.raises(ConfigError) as caught:
        run_trial(tiny(sampling__sampler="ddim", networks__batch_size=8), context)
    assert caught.value.problems == [
        "sampling.sampler=ddim changes nothing here: it is read only by Palette models; "
        "leave it out",
        "networks.batch_size=8 changes nothing here: it is read only where one of "
        "networks.features, probabilities and embeddings is not domain; leave it out",
    ]
    assert list(tmp_path.iterdir()) == []


def test_values_are_told_as_the_command_line_takes_them() -> None:
    config = TrialConfig(method="original", checkpoint=("a",))
    told = unread("pretrain.tasks", ("centre:0.5", "left:0.5"), (config,)) or ""
    assert told.startswith("pretrain.tasks=centre:0.5,left:0.5 changes nothing here")
    assert (unread("unlearn.compile", True, (config,)) or "").startswith("unlearn.compile=true ")
