"""Finds the weights of the paper's networks, in a local file, a cache or a download; reads them.

Inception's are those of pytorch-fid, by torch.hub; the ResNet-50's are the authors', by torch.hub;
CLIP's are open_clip's, by the cache of Hugging Face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainables.config import LABELLED, NetworksConfig, TrialConfig
from trainables.config.evaluation import WEIGHTS_OPTIONS
from trainables.evaluation.clip import clip_file, clip_network, named_line
from trainables.evaluation.networks import InceptionNetwork, PlacesNetwork
from trainables.models.checkpoints import load_network
from trainables.utils.cache import file_hash
from trainables.utils.errors import CheckpointError
from trainables.utils.files import flush


@dataclass(frozen=True)
class _Published:
    """A file of the internet that torch.hub keeps.

    Attributes:
        label: of its network.
        what: told where the file is refused.
        url: where it is.
        sha256: the first digits of its hash, empty where none is published.
        names: under which torch.hub's cache may hold it; the first is its own.
    """

    label: str
    what: str
    url: str
    sha256: str
    names: tuple[str, ...]


_INCEPTION = "inception-2015-12-05-6726825d.pth"
PUBLISHED = {
    "inception": _Published(
        label="Inception-v3 2015-12-05",
        what="the Inception of FID",
        url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        f"pt_{_INCEPTION}",
        sha256="6726825d",
        # torch-fidelity and torchmetrics keep the same bytes under the second name
        names=(f"pt_{_INCEPTION}", f"weights-{_INCEPTION}"),
    ),
    "places365": _Published(
        label="Places365 ResNet-50",
        what="the ResNet-50 of Places-365",
        url="http://places2.csail.mit.edu/models_places365/resnet50_places365.pth.tar",
        sha256="",
        names=("resnet50_places365.pth.tar",),
    ),
}


@dataclass(frozen=True)
class Weights:
    """The weights of one network.

    Attributes:
        path: their file.
        sha256: of its bytes, in hexadecimal.
        label: the network's name and, unless the weights are known to be the published ones, the
            first digits of their hash.
    """

    path: Path
    sha256: str
    label: str


def find_weights(config: NetworksConfig, cache: Path) -> dict[str, Weights]:
    """Finds the files of the paper's networks that measure; downloads those that are absent.

    Args:
        config: says which networks, and their local files.
        cache: where the hashes of files are kept.

    Returns:
        By `inception`, `places365` and `clip`; empty where the domain CNN measures everything.

    Raises:
        CheckpointError: a file that is absent and cannot be downloaded, or an unknown CLIP model;
            one line that names the file, where it comes from, and the option that takes a path.
    """
    found = {}
    for name, given in config.weights().items():
        if given and not Path(given).is_file():
            raise CheckpointError(f"{WEIGHTS_OPTIONS[name]}={given} is not a file")
        published = PUBLISHED.get(name)
        if published is not None:
            path = Path(given) if given else _hub_file(name, published)
            label, known = published.label, bool(published.sha256) or not given
        else:
            path = Path(given) if given else clip_file(config)
            label, known = f"CLIP {config.embeddings}", not given
            if known and ":" not in config.embeddings:
                label += f" {config.clip_pretrained}"
        sha256 = file_hash(path, cache)
        if not known or (published is not None and not sha256.startswith(published.sha256)):
            label += f", weights {sha256[:8]}"
        found[name] = Weights(path, sha256, label)
    return found


def material(config: NetworksConfig, weights: Mapping[str, Weights]) -> dict[str, Any]:
    """Returns everything about the paper's networks that can change what they extract."""
    used = asdict(config.canonical())
    kept = ("embeddings", "clip_pretrained") if "clip" in weights else ()
    return {
        "parts": config.parts(),
        "weights": {name: each.sha256 for name, each in weights.items()},
        **{name: used[name] for name in kept},
    }


def extractor_labels(
    config: TrialConfig, weights: Mapping[str, Weights], classes: int
) -> dict[str, str]:
    """Returns what made each kind of figure, as every table and plot must say.

    Args:
        config: says by which networks, and the source of the domain CNN's images.
        weights: of the paper's networks, with their names.
        classes: that the domain CNN tells apart, which its Inception Score is of.
    """
    names = {name: each.label for name, each in weights.items()}
    names["domain"] = f"{config.data.name} CNN"
    parts = config.networks.parts()
    of_classes = config.data.source in LABELLED and parts["probabilities"] == "domain"
    return {
        "fid_extractor": names[parts["features"]],
        "is_extractor": names[parts["probabilities"]] + f", {classes} classes" * of_classes,
        "clip_model": names[parts["embeddings"]],
    }


def _hub_file(name: str, published: _Published) -> Path:
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    for each in published.names:
        if (folder / each).is_file():
            return folder / each
    path = folder / published.names[0]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            published.url, str(path), hash_prefix=published.sha256 or None, progress=False
        )
        for there in (path, folder):
            flush(there)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the weights of {published.what}, {path.name}, are not in {folder} and could not be "
            f"downloaded from {published.url} ({named_line(error)}): "
            f"fetch the file, and --set {WEIGHTS_OPTIONS[name]}=FILE"
        ) from None
    return path


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
