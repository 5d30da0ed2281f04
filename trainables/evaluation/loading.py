"""Reads the files of weights of the paper's networks, by readers of weights alone."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from trainables.config import NetworksConfig
from trainables.evaluation.clip import clip_network
from trainables.evaluation.networks import InceptionNetwork, PlacesNetwork
from trainables.evaluation.pretrained_weights import PUBLISHED, Weights
from trainables.models.checkpoints import load_network


def load_networks(config: NetworksConfig, weights: Mapping[str, Weights]) -> dict[str, nn.Module]:
    """Returns the paper's networks in evaluation mode on the CPU, without gradients.

    Args:
        config: says which CLIP model.
        weights: from `find_weights`.

    Raises:
        CheckpointError: a truncated, foreign or hostile file, in one line.
    """
    networks: dict[str, nn.Module] = {}
    for name, each in weights.items():
        if name == "clip":
            network: nn.Module = clip_network(config, each.path)
        else:
            network = InceptionNetwork() if name == "inception" else PlacesNetwork()
            load_network(network.get_submodule("network"), each.path, PUBLISHED[name].what)
        networks[name] = network.eval().requires_grad_(False)
    return networks
