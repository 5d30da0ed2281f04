"""Tokens that are kept are those that a step would make, and a trial on them is the same trial."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

from tests.helpers import published
from tests.helpers.tiny import STEPS, tiny
from trainables.config import TrialConfig
from trainables.config.overrides import apply_overrides
from trainables.models.mage import MAGE
from trainables.shared.base_models import base_model, load_base
from trainables.shared.keys import shared_work_keys
from trainables.shared.tokens import kept_tokens
from trainables.training.context import Context, load_setup
from trainables.trial import run_trial
from trainables.utils.errors import CheckpointError, ConfigError

MAGE_TRIAL: dict[str, Any] = {
    "model": "mage_tiny",
    "sampling__steps": 2,
    "unlearn__noise_bank": 6,
    "pretrain__shipped": True,
}
KEPT = {**MAGE_TRIAL, "unlearn__token_cache": True}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_a_trial_on_kept_tokens_is_the_trial_on_its_images(cache: Path, tmp_path: Path) -> None:
    found = [
        run_trial(tiny(**given), Context(folder=tmp_path / name, cache=cache))["metrics"]
        for name, given in (("images", MAGE_TRIAL), ("tokens", KEPT))
    ]
    assert found[0] == found[1]


def test_with_kept_tokens_no_step_runs_the_tokenizer(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_prepare, plain_tokenize = MAGE.prepare, MAGE.tokenize
    steps: list[str] = []
    inside: list[bool] = []

    def prepare(self: MAGE, *args: Any) -> Any:
        steps.append("prepared")
        inside.append(True)
        try:
            return plain_prepare(self, *args)
        finally:
            inside.pop()

    def tokenize(self: MAGE, images: Tensor) -> Tensor:
        if inside:
            steps.append("tokenised")
        return plain_tokenize(self, images)

    monkeypatch.setattr(MAGE, "prepare", prepare)
    monkeypatch.setattr(MAGE, "tokenize", tokenize)
    for given, wanted in (
        (KEPT, ["prepared"] * STEPS),
        (MAGE_TRIAL, ["prepared", "tokenised"] * STEPS),
    ):
        steps.clear()
        run_trial(tiny(**given), Context(folder=tmp_path / "trial", cache=cache))
        assert steps == wanted


def test_kept_tokens_are_those_of_the_images(cache: Path) -> None:
    config = tiny(**KEPT, retain_source="1:1")
    setup = load_setup(config, Context(cache=cache))
    dataset = setup.dataset
    base = base_model(setup)
    tokens, bank = kept_tokens(setup, base)
    assert tokens is not None
    rows = np.concatenate([dataset.rows(role, "train")[[3, 0]] for role in config.batch_rows()])
    model = load_base(setup, base)
    assert isinstance(model, MAGE)
    found = tokens.expand(tokens.read(rows, np.arange(len(rows))))
    assert torch.equal(found, model.tokenize(dataset.images(rows)))
    assert bank["noise_tokens"].shape == (6, model.grid**2)
    assert len(torch.unique(bank["noise_tokens"], dim=0)) == 6


def test_only_the_models_that_tokenise_keep_tokens() -> None:
    keys = {
        (model, method): shared_work_keys(
            tiny(model=model, method=method, unlearn__noise_bank=2, unlearn__token_cache=True)
        )
        for model in ("mae_tiny", "mage_tiny")
        for method in ("ours", "max_loss", "original")
    }
    found = [name for name, stages in keys.items() if "tokens" in stages]
    assert found == [("mage_tiny", "ours"), ("mage_tiny", "max_loss")]


def test_a_noise_bank_is_of_the_method_that_reads_it() -> None:
    banks = {"unlearn__noise_bank": 2}
    for method in ("ours", "max_loss"):
        usual = tiny(model="mage_tiny", method=method)
        same = tiny(model="mage_tiny", method=method, **banks).key() == usual.key()
        assert same == (method == "max_loss")


def test_tokens_are_mapped_and_not_copied(cache: Path) -> None:
    setup = load_setup(tiny(**KEPT), Context(cache=cache))
    base = base_model(setup)
    kept_tokens(setup, base)
    before = pa.total_allocated_bytes()
    tokens, _ = kept_tokens(setup, base)
    assert tokens is not None
    assert sum(role.views.nbytes for role in tokens.roles) > 10_000
    assert pa.total_allocated_bytes() - before < 1000


def test_kept_views_are_those_that_a_step_would_read(tmp_path: Path) -> None:
    root = published.imagenet(tmp_path / "imagenet")
    config = apply_overrides(
        tiny(**KEPT),
        {
            "data.source": "imagenet",
            "data.root": str(root),
            "data.augment": True,
            "data.views": 2,
            "data.forget": published.FORGET,
            "data.retain": published.RETAIN,
            "data.proxy": published.PROXY,
        },
    )
    setup = load_setup(config, Context(cache=tmp_path / "cache"))
    dataset = setup.dataset
    base = base_model(setup)
    tokens, _ = kept_tokens(setup, base)
    assert tokens is not None
    model = load_base(setup, base)
    assert isinstance(model, MAGE)
    rows = dataset.rows("forget", "train")[[0, 1, 2, 3]]
    views = np.array([0, 1, 2, 3])
    images = dataset.expand(dataset.read(rows, views))
    found = tokens.expand(tokens.read(rows, views))
    assert torch.equal(found, model.tokenize(images))
    assert not torch.equal(found, tokens.expand(tokens.read(rows, views + 1)))


def test_altered_tokens_are_refused_in_one_line(cache: Path, tmp_path: Path) -> None:
    copied = tmp_path / "cache"
    shutil.copytree(cache, copied)
    setup = load_setup(tiny(**KEPT), Context(cache=copied))
    base = base_model(setup)
    kept_tokens(setup, base)
    kept = {path: path.read_bytes() for path in copied.glob("tokens-*/tokens.arrow")}
    for broken in (b"", None, b"ARROW1\0\0 nothing"):
        for path, content in kept.items():
            path.write_bytes(content[:-9] if broken is None else broken)
        with pytest.raises(CheckpointError, match=r"arrow: .*remove .*built anew") as caught:
            kept_tokens(setup, base)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"unlearn.token_cache": True}, "needs an unlearn.noise_bank above 0"),
        (
            {
                "unlearn.token_cache": True,
                "unlearn.noise_bank": 8,
                "data.source": "imagenet",
                "data.root": "somewhere",
                "data.augment": True,
            },
            r"data\.views is 0",
        ),
    ],
)
def test_a_cache_that_cannot_be_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        apply_overrides(TrialConfig(model="mage_tiny"), given)
