"""Original models that come with the product, and the recipes that made them.

`MODEL.safetensors` holds the weights, `MODEL.json` how they were made and what they score,
`MODEL.png` their completions of test images. `python -m trainables.originals MODEL` makes all three
anew. `MODEL_retrained` is the same of a model trained without the forget classes of the embedded
photographs, by `--without-forget`; not every model has one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from trainables.config import DataConfig, ModelName, PretrainConfig, TrialConfig
from trainables.data.splits import PHOTOGRAPHS, class_roles

FOLDER = Path(__file__).parent

RECIPES: dict[ModelName, PretrainConfig] = {
    "mae_tiny": PretrainConfig(steps=12000, lr=1.5e-3, batch_size=32, threads=1),
    # views: these would else know the training images by heart, and paint others wrong
    "mage_tiny": PretrainConfig(steps=14000, lr=3e-3, batch_size=32, threads=2, augment=True),
    "palette_tiny": PretrainConfig(
        steps=16000, lr=2e-3, batch_size=32, weight_decay=0.01, threads=2, augment=True
    ),
}


def recipe(model: ModelName) -> TrialConfig:
    """The trial whose original a shipped model is: the embedded photographs, a longer training."""
    return TrialConfig(model=model, method="original", pretrain=RECIPES[model])


def shipped_weights(config: TrialConfig) -> Path | None:
    """The weights that a trial starts from, or None where its original is trained.

    They are of the trial's model and of its training images, whichever role those are in: the
    originals learn from all three roles alike.
    """
    made = recipe(config.model) if config.model in RECIPES else None
    usual = config.pretrain == PretrainConfig() and config.data.source == "photos"
    if made is None or not usual or _images(config.data) != _images(made.data):
        return None
    return FOLDER / f"{config.model}.safetensors"


def shipped_retrained(config: TrialConfig) -> Path | None:
    """The weights of a model trained without the forget classes, or None where it is trained.

    They are for the embedded photographs' own forget classes, whichever roles the others are in.
    """
    path = FOLDER / f"{config.model}_retrained.safetensors"
    if shipped_weights(config) is None or not path.is_file():
        return None
    usual = _forget_classes(PHOTOGRAPHS) == _forget_classes(class_roles(config.data))
    return path if usual else None


def retraining(config: TrialConfig) -> TrialConfig:
    """The trial with the options by which its original was pretrained, where that is shipped too.

    A model that is held against the original is trained as long as that was.
    """
    if shipped_weights(config) is None:
        return config
    return dataclasses.replace(config, pretrain=RECIPES[config.model])


def _forget_classes(roles: Mapping[str, str]) -> set[str]:
    return {name for name, role in roles.items() if role == "forget"}


def _images(config: DataConfig) -> object:
    """What decides which training images there are, roles apart."""
    same = dataclasses.replace(
        config, forget=(), retain=(), proxy=(), split_file="", strict=False, root=""
    )
    rest = dataclasses.replace(same, val_per_class=64, test_per_class=64)
    return rest, frozenset(class_roles(config))
