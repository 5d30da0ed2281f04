"""Work that trials share has another name where anything that can change it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, cast

import pytest
import torch

from tests.helpers.tiny import tiny
from trainables.config import TrialConfig
from trainables.config.overrides import apply_overrides
from trainables.data import Dataset, load
from trainables.evaluation import extractors
from trainables.shared import identity, references, tokens
from trainables.training.context import Context, TrialSetup
from trainables.utils.hashing import content_key


class Named(Exception):
    """Ends a build with what its work is named by."""


def stop(root: Path, kind: str, material: Any, build: Any) -> NoReturn:
    raise Named(kind, material)


@dataclasses.dataclass
class Work:
    """What shared work is named by."""

    config: TrialConfig
    dataset: Dataset
    context: Context
    base: Path = Path("base-1")

    def key(self, kind: str) -> str:
        """The key of one kind of work, which is not built."""
        setup = TrialSetup(self.config, self.dataset, self.context)
        extractor = cast(Any, None)
        begun: dict[str, Callable[[], Any]] = {
            "base": lambda: stop(Path(), "", identity.base_material(setup), None),
            "retrained": lambda: stop(Path(), "", identity.retrained_material(setup), None),
            "extractor": lambda: extractors.extractor_folder(setup),
            "real": lambda: references.real_arrays(setup, extractor, {}),
            "reference": lambda: references.reference(setup, self.base, extractor, {}),
            "tokens": lambda: tokens.cached_tokens(setup, self.base),
            "bank": lambda: tokens.noise_bank(setup, self.base),
        }
        with pytest.MonkeyPatch.context() as patch:
            if kind == "reference":  # which asks for the real images first
                patch.setattr(references, "real_arrays", lambda *_: {})
            with pytest.raises(Named) as caught:
                begun[kind]()
        return content_key(caught.value.args)

    def change(self, name: str, patch: pytest.MonkeyPatch) -> None:
        if name in VALUES:
            self.config = apply_overrides(self.config, {name: VALUES[name]})
        elif name == "data":
            self.dataset = dataclasses.replace(self.dataset, fingerprint="other")
        elif name == "base":
            self.base = Path("base-2")
        elif name == "device":
            self.context = dataclasses.replace(self.context, device=torch.device("meta"))
        elif name == "torch":
            patch.setattr(torch, "__version__", "9.9")
        elif name == "extractor":
            patch.setattr(references, "extractor_folder", lambda *_: Path("extractor-2"))
        elif name == "code":
            for module in (identity, extractors, references, tokens):
                patch.setattr(module, "code_version", lambda *_: "changed")


CHANGES: dict[str, tuple[str, ...]] = {
    "data": ("base", "retrained", "extractor", "real", "reference", "tokens", "bank"),
    "model": ("base", "retrained"),
    "pretrain.steps": ("base", "retrained"),
    "pretrain.tasks": ("base", "retrained"),
    "extractor.steps": ("extractor",),
    "test_task.ratio": ("reference",),
    "sampling.steps": ("reference",),
    "evaluation.seed": ("reference",),
    "networks.features": ("real", "reference"),
    "unlearn.retainset_ratio": ("tokens",),
    "unlearn.noise_bank": ("bank",),
    "data.seed": ("bank",),
    "base": ("reference", "tokens", "bank"),
    "extractor": ("real", "reference"),
    "torch": ("base", "retrained", "extractor", "tokens", "bank"),
    "device": ("base", "retrained", "tokens", "bank"),
    "code": ("base", "retrained", "extractor", "real", "reference", "tokens", "bank"),
}
VALUES: dict[str, Any] = {
    "model": "mage_vit_base_patch16",
    "pretrain.steps": 6,
    "pretrain.tasks": ("left:0.5",),
    "extractor.steps": 6,
    "test_task.ratio": 0.3,
    "sampling.steps": 3,
    "evaluation.seed": 1,
    "networks.features": "inception",
    "unlearn.retainset_ratio": 0.5,
    "unlearn.noise_bank": 7,
    "data.seed": 1,
}
KINDS = ("base", "retrained", "extractor", "real", "reference", "tokens", "bank")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load(tiny().data, tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_shared_work_changes_its_name(
    change: str, images: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (extractors, references, tokens):
        monkeypatch.setattr(module, "build_once", stop)
    monkeypatch.setattr(references, "extractor_folder", lambda *_: Path("extractor-1"))
    options = {"unlearn__noise_bank": 6, "unlearn__token_cache": True, "model": "mage_tiny"}
    work = Work(tiny(**options), images, Context(cache=tmp_path))
    before = {kind: work.key(kind) for kind in KINDS}
    work.change(change, monkeypatch)
    after = {kind: work.key(kind) for kind in KINDS}
    assert {kind for kind in KINDS if after[kind] != before[kind]} == set(CHANGES[change])
