"""What would fail every trial is found while the sweep is planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from platform.plan import validation
from platform.plan.build import make_plan
from platform.plan.plan import LaunchConfig, Plan
from platform.plan.validation import plan_problems, trial_problems
from tests.helpers.studies import ONE_FAMILY
from trainables.config import IMAGE_MULTIPLES, DataConfig, TrialConfig
from trainables.config.overrides import apply_overrides
from trainables.models import MODELS, build_model
from trainables.utils.errors import ConfigError


def planned(*settings: str, workers: int = 1) -> Plan:
    return make_plan(
        ONE_FAMILY,
        name="a",
        storage=Path("runs"),
        overrides=settings,
        launch=LaunchConfig(workers=workers),
    )


def test_the_quickstart_has_no_problems_on_one_and_on_two_workers() -> None:
    for workers in (1, 2):
        assert all(not trial_problems(t.config, workers) for t in planned(workers=workers).trials)


def test_the_data_of_many_trials_are_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[DataConfig] = []
    roles = validation.class_roles
    monkeypatch.setattr(
        validation, "class_roles", lambda data: (listed.append(data), roles(data))[1]
    )
    configs = [trial.config for trial in planned("data.seed=0,1").trials]
    listed.clear()
    without = apply_overrides(configs[-1], {"data.forget": ["china"], "data.retain": ["coins"]})
    assert plan_problems(configs, 1) == []
    assert len(listed) == 2 < len(configs)
    proxied = apply_overrides(without, {"method": "ours", "retain_source": "proxy"})
    (line,) = plan_problems([*configs, proxied], 1)
    assert line.startswith("retain_source=proxy trains on proxy images and data.proxy names no")


def test_a_variant_that_trains_on_proxy_images_needs_some() -> None:
    roles = ("data.forget=china", "data.retain=flower")
    with pytest.raises(ConfigError, match=r"retain_source=proxy .*data\.proxy names no class"):
        planned(*roles)
    assert {trial.group for trial in planned(*roles, "retain_source=real").trials} >= {"ours"}


@pytest.mark.parametrize(
    ("settings", "workers", "shown"),
    [
        (("unlearn.forget_batch=31",), 2, "31 forget rows a step cannot be shared by 2 workers"),
        (("retain_source=0.33", "method=ours"), 2, "11 retain rows a step cannot be shared"),
        ((), 3, "32 retain rows a step cannot be shared by 3 workers"),
        (("method=retain_label", "retain_source=3:1"), 2, "retain_label on several workers"),
        (("method=retain_label", "unlearn.forget_batch=16"), 2, "retain_label on several workers"),
    ],
)
def test_batches_that_workers_cannot_share_are_refused(
    settings: tuple[str, ...], workers: int, shown: str
) -> None:
    with pytest.raises(ConfigError, match=shown):
        planned(*settings, workers=workers)


def test_an_image_size_that_is_no_multiple_of_the_models_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.image_size=30 is not a multiple of 4"):
        planned("data.image_size=30")


@pytest.mark.parametrize("model", MODELS)
def test_the_multiples_are_the_models(model: Any) -> None:
    multiple = IMAGE_MULTIPLES[model]
    with torch.device("meta"):
        assert build_model(model, image_size=multiple * 3) is not None
        with pytest.raises(ValueError, match="multiple"):
            build_model(model, image_size=multiple * 2 + multiple // 2)


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        ("real", {"retain": 32, "forget": 32}),
        ("proxy", {"proxy": 32, "forget": 32}),
        ("none", {"forget": 32}),
        ("3:1", {"retain": 24, "proxy": 8, "forget": 32}),
    ],
)
def test_a_batch_has_the_same_forget_rows_whatever_is_retained(
    source: str, rows: dict[str, int]
) -> None:
    config = apply_overrides(TrialConfig(), {"retain_source": source})
    assert config.batch_rows() == rows
    assert apply_overrides(config, {"method": "original"}).batch_rows() == {}


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        (
            ("networks.features=inception", "networks.inception_weights=no/w.pth"),
            r"networks\.inception_weights=no/w\.pth is not a file",
        ),
        (
            ("networks.probabilities=places365", "networks.places_weights=no/w.tar"),
            r"networks\.places_weights=no/w\.tar is not a file",
        ),
        (
            ("networks.embeddings=ViT-B-32", "networks.clip_weights=no/w.pt"),
            r"networks\.clip_weights=no/w\.pt is not a file",
        ),
        (
            ("networks.embeddings=ViT-H14",),
            r"networks\.embeddings=ViT-H14 is neither domain nor a model of open_clip \(close: ViT",
        ),
        (
            ("networks.embeddings=local-dir:no",),
            r"networks\.embeddings=local-dir:no: no/open_clip_config\.json is not a file",
        ),
        (("networks.embeddings=hf-hub:",), "neither domain nor a model of open_clip"),
        (("networks.features=vgg",), r"networks\.features='vgg' is not one of domain, inception"),
    ],
)
def test_networks_that_are_not_there_are_refused(settings: tuple[str, ...], shown: str) -> None:
    with pytest.raises(ConfigError, match=shown):
        planned(*settings)


def test_networks_that_measure_nothing_are_not_looked_for() -> None:
    assert planned("networks.clip_weights=no/w.pt", "networks.embeddings=domain").trials


def test_the_paper_s_networks_pass_without_local_files() -> None:
    paper = ("networks.features=inception", "networks.embeddings=ViT-H-14")
    assert planned(*paper, "networks.probabilities=places365").trials
