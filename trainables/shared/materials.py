"""Names originals in the cache by everything that can change their weights.

So it does for the models that never met the forget classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainables.shared.keys import original_values, retrained_values
from trainables.training.context import TrialSetup
from trainables.utils.cache import file_hash
from trainables.utils.hashing import code_version

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
