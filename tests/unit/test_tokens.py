"""Tokens that are kept are those that a step would make, and a trial on them is the same trial."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import tiny
from trainables.base_models import base_model, load_base
from trainables.config import TrialConfig
from trainables.context import Context
from trainables.data import load
from trainables.errors import CheckpointError, ConfigError
from trainables.models.mage import MAGE
from trainables.overrides import apply_overrides
from trainables.stages import stage_keys
from trainables.tokens import kept_tokens
from trainables.trial import run_trial

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


def test_with_kept_tokens_the_tokenizer_sees_no_training_image(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny(**KEPT)
    run_trial(config, Context(folder=tmp_path / "first", cache=cache))
    monkeypatch.setattr(MAGE, "prepare", _without_tokenizer(monkeypatch))
    run_trial(config, Context(folder=tmp_path / "second", cache=cache))


def _without_tokenizer(monkeypatch: pytest.MonkeyPatch) -> Any:
    plain = MAGE.prepare

    def prepare(self: MAGE, *args: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.delattr(MAGE, "tokenize")
            return plain(self, *args)

    return prepare


def test_kept_tokens_are_those_of_the_images(cache: Path) -> None:
    config = tiny(**KEPT, retain_source="1:1")
    context = Context(cache=cache)
    dataset = load(config.data, cache)
    base = base_model(config, dataset, context)
    tokens, bank = kept_tokens(config, dataset, base, context)
    assert tokens is not None
    rows = np.concatenate([dataset.rows(role, "train")[[3, 0]] for role in config.batch_rows()])
    model = load_base(config, base, context)
    assert isinstance(model, MAGE)
    found = tokens.expand(tokens.read(rows, np.arange(len(rows))))
    assert torch.equal(found, model.tokenize(dataset.images(rows)))
    assert bank["noise_tokens"].shape == (6, model.grid**2)
    assert len(torch.unique(bank["noise_tokens"], dim=0)) == 6


def test_only_the_models_that_tokenise_keep_tokens() -> None:
    keys = {
        (model, method): stage_keys(
            tiny(model=model, method=method, unlearn__noise_bank=2, unlearn__token_cache=True)
        )
        for model in ("mae_tiny", "mage_tiny")
        for method in ("ours", "original")
    }
    assert [name for name, stages in keys.items() if "tokens" in stages] == [("mage_tiny", "ours")]


def test_altered_tokens_are_refused_in_one_line(cache: Path, tmp_path: Path) -> None:
    config = tiny(**KEPT)
    copied = tmp_path / "cache"
    context = Context(cache=copied)
    dataset = load(config.data, cache)
    shutil.copytree(cache, copied)
    base = base_model(config, dataset, context)
    kept_tokens(config, dataset, base, context)
    kept = {path: path.read_bytes() for path in copied.glob("tokens-*/tokens.arrow")}
    for broken in (b"", None, b"ARROW1\0\0 nothing"):
        for path, content in kept.items():
            path.write_bytes(content[:-9] if broken is None else broken)
        with pytest.raises(CheckpointError, match=r"arrow: .*remove .*built anew") as caught:
            kept_tokens(config, dataset, base, context)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"unlearn.token_cache": True}, "noise_bank is 0"),
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
