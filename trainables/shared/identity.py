"""Tells whether two trials must come to the same figures, and names originals in the cache.

The name of an original, or of a model that never met the forget classes, holds everything that can
change its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainables.evaluation.pretrained_weights import find_weights, material
from trainables.shared.keys import original_values, retrained_values
from trainables.training.context import TrialSetup
from trainables.utils.cache import file_hash
from trainables.utils.hashing import code_version, content_key

_SCIENCE = (
    "trainables.models",
    "trainables.methods",
    "trainables.data",
    "trainables.training.loop",
    "trainables.training.optimizer",
    "trainables.shared.pretraining",
    "trainables.utils.distributed",
    "trainables.utils.rng",
)


def identity(setup: TrialSetup) -> dict[str, str]:
    """Returns everything that can change a figure of a trial, by name.

    Raises:
        CheckpointError: the weights of a network that measures cannot be had.
    """
    config, context = setup.config, setup.context
    weights = find_weights(config.networks, context.cache)
    own = {}
    if config.method == "retrained":
        own["retrained"] = content_key(retrained_material(setup))
    return own | {
        "trial": config.key(),
        "data": setup.dataset.fingerprint,
        "original": content_key(base_material(setup)),
        "networks": content_key(material(config.networks, weights)),
        "code": code_version("trainables"),
        "torch": str(torch.__version__),
        "device": context.device.type,
        "processes": str(context.world.size),
        "threads": str(context.threads),
    }


def base_material(setup: TrialSetup) -> dict[str, Any]:
    """Returns what names an original model in the cache."""
    return _with_content(original_values(setup.config), setup)


def retrained_material(setup: TrialSetup) -> dict[str, Any]:
    """Returns what names a model trained without the forget classes in the cache."""
    return _with_content(retrained_values(setup.config), setup)


def _with_content(values: Mapping[str, Any], setup: TrialSetup) -> dict[str, Any]:
    """Puts content in place of names: the hashes of files, or of the images and the code."""
    cache = setup.context.cache
    if "files" in values:
        return {**values, "files": [file_hash(Path(path), cache) for path in values["files"]]}
    return {
        **values,
        "data": setup.dataset.fingerprint,
        "code": code_version(*_SCIENCE),
        "device": setup.context.device.type,
        "torch": str(torch.__version__),
    }
