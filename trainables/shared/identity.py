"""Tells whether two trials must come to the same figures."""

from __future__ import annotations

import torch

from trainables.evaluation.pretrained_weights import find_weights, material
from trainables.shared.materials import base_material, retrained_material
from trainables.training.context import TrialSetup
from trainables.utils.hashing import code_version, content_key


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
