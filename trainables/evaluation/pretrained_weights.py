"""Finds and reads the weights of the paper's networks: a local file, a cache, or a download.

Inception's are those of pytorch-fid, by torch.hub; the ResNet-50's are the authors', by torch.hub;
CLIP's are open_clip's, by the cache of Hugging Face. Files are read by the weights-only readers of
`trainables.models.checkpoints`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.factory import parse_model_name
from open_clip.pretrained import download_pretrained_from_hf, list_pretrained_tags_by_model
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor, nn

from trainables.config import NetworksConfig, TrialConfig
from trainables.config.evaluation import WEIGHTS_OPTIONS
from trainables.evaluation.networks import ClipNetwork, InceptionNetwork, PlacesNetwork
from trainables.models.checkpoints import load_network, read_state
from trainables.utils.cache import file_hash
from trainables.utils.errors import CheckpointError
from trainables.utils.text import close_names, one_line


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
_PUBLISHED = {
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
    """The files of the paper's networks that are measured with, downloaded where they must be.

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
        published = _PUBLISHED.get(name)
        if published is not None:
            path = Path(given) if given else _hub_file(name, published)
            label, known = published.label, bool(published.sha256) or not given
        else:
            path = Path(given) if given else _clip_file(config)
            label, known = f"CLIP {config.embeddings}", not given
            if known and ":" not in config.embeddings:
                label += f" {config.clip_pretrained}"
        sha256 = file_hash(path, cache)
        if not known or (published is not None and not sha256.startswith(published.sha256)):
            label += f", weights {sha256[:8]}"
        found[name] = Weights(path, sha256, label)
    return found


def load_networks(config: NetworksConfig, weights: Mapping[str, Weights]) -> dict[str, nn.Module]:
    """The paper's networks in evaluation mode on the CPU, without gradients.

    Args:
        config: says which CLIP model.
        weights: from `find_weights`.

    Raises:
        CheckpointError: a truncated, foreign or hostile file, in one line.
    """
    networks: dict[str, nn.Module] = {}
    for name, each in weights.items():
        if name == "clip":
            network: nn.Module = _clip(config, each.path)
        else:
            network = InceptionNetwork() if name == "inception" else PlacesNetwork()
            load_network(network.get_submodule("network"), each.path, _PUBLISHED[name].what)
        networks[name] = network.eval().requires_grad_(False)
    return networks


def material(config: NetworksConfig, weights: Mapping[str, Weights]) -> dict[str, Any]:
    """Everything about the paper's networks that can change what they extract."""
    used = asdict(config.canonical())
    kept = ("embeddings", "clip_pretrained") if "clip" in weights else ()
    return {
        "parts": config.parts(),
        "weights": {name: each.sha256 for name, each in weights.items()},
        **{name: used[name] for name in kept},
    }


def extractor_labels(config: TrialConfig, weights: Mapping[str, Weights]) -> dict[str, str]:
    """Returns what made each kind of figure, as every table and plot must say.

    Args:
        config: says by which networks, and the source of the domain CNN's images.
        weights: of the paper's networks, with their names.
    """
    names = {name: each.label for name, each in weights.items()}
    names["domain"] = f"{config.data.source} CNN"
    parts = config.networks.parts()
    return {
        "fid_extractor": names[parts["features"]],
        "is_extractor": names[parts["probabilities"]],
        "clip_model": names[parts["embeddings"]],
    }


# --- Inception and Places ------------------------------------------------------------------------


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
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the weights of {published.what}, {path.name}, are not in {folder} and could not be "
            f"downloaded from {published.url} ({_line(error)}): "
            f"fetch the file, and --set {WEIGHTS_OPTIONS[name]}=FILE"
        ) from None
    return path


# --- CLIP ----------------------------------------------------------------------------------------


def _clip_file(config: NetworksConfig) -> Path:
    """The file of weights of a CLIP model that has none given."""
    option = f"--set {WEIGHTS_OPTIONS['clip']}=FILE"
    schema, name = parse_model_name(config.embeddings)
    if schema == "local-dir":
        names = (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
        inside = [Path(name) / each for each in names if (Path(name) / each).is_file()]
        if not inside:
            raise CheckpointError(
                f"the weights of CLIP {config.embeddings} are not in {name}: "
                f"neither {' nor '.join(names)} is there; put one there, or {option}"
            )
        found: Path = inside[0]
        return found
    source, tag = name, ""
    chosen: Any = name
    if schema is None:
        _model_config(config)
        tags = list_pretrained_tags_by_model(name)
        if config.clip_pretrained not in tags:
            raise CheckpointError(
                f"networks.clip_pretrained={config.clip_pretrained} is no weights of {name}, which "
                f"has {', '.join(tags) or 'none'}; or {option}"
            )
        chosen = open_clip.get_pretrained_cfg(name, config.clip_pretrained)
        source, tag = chosen.get("hf_hub") or chosen.get("url"), f" {config.clip_pretrained}"
    try:
        get = open_clip.download_pretrained if schema is None else download_pretrained_from_hf
        return Path(str(get(chosen)))
    except Exception as error:  # whatever the client of Hugging Face meets
        raise CheckpointError(
            f"the weights of CLIP {name}{tag} are not in the cache of Hugging Face and could not "
            f"be downloaded from {str(source).rstrip('/')} ({_line(error)}): fetch "
            f"{HF_SAFE_WEIGHTS_NAME} or {HF_WEIGHTS_NAME} there, and {option}"
        ) from None


def _model_config(config: NetworksConfig) -> dict[str, Any]:
    """open_clip's description of the model.

    Raises:
        CheckpointError: it knows no such model, or its folder or page holds no description.
    """
    try:
        found = open_clip.get_model_config(config.embeddings)
    except Exception as error:  # a page of Hugging Face, or a file of the user's
        told = f"networks.embeddings={config.embeddings}: no open_clip_config.json that can be read"
        raise CheckpointError(f"{told} ({_line(error)})") from None
    if not isinstance(found, dict):
        near = close_names(config.embeddings, open_clip.list_models())
        raise CheckpointError(
            f"networks.embeddings={config.embeddings} is neither domain nor a model of "
            f"open_clip{near}"
        )
    return found


class _EncodeImage(nn.Module):
    """The image tower of a model that has none to take out of it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        encoded: Tensor = self.model.encode_image(images)  # type: ignore[operator]
        return encoded


def _clip(config: NetworksConfig, path: Path) -> ClipNetwork:
    """The image tower of a CLIP model, with the transform of its weights' training."""
    described = _model_config(config)
    chosen: dict[str, Any] = {}
    if ":" not in config.embeddings:
        chosen = open_clip.get_pretrained_cfg(config.embeddings, config.clip_pretrained)
    if chosen.get("quick_gelu", False) and not described.get("quick_gelu", False):
        raise CheckpointError(
            f"the weights {config.clip_pretrained} are of networks.embeddings="
            f"{config.embeddings}-quickgelu: {config.embeddings} has another activation"
        )
    read_state(path)  # refuses what is not plain weights, before open_clip reads it
    shown = {name: chosen[name] for name in asdict(PreprocessCfg()) if name in chosen}
    try:
        with _quiet():
            model = open_clip.create_model(
                config.embeddings,
                load_weights=False,
                pretrained_text=False,
                force_preprocess_cfg=shown,
            )
            open_clip.load_checkpoint(model, str(path), weights_only=True)
    except Exception as error:  # of shapes and names as of files
        raise CheckpointError(
            f"{path}: not the weights of CLIP {config.embeddings} ({_line(error)})"
        ) from None
    tower = _EncodeImage(model) if isinstance(model, open_clip.CoCa) else model.visual
    for name, value in tower.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path}: {name} holds NaN or infinity, expected finite weights")
    transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    return ClipNetwork(tower, transform)


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip warns of a model without weights, which it gets a line later."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _line(error: Exception) -> str:
    """What went wrong, short and in one line."""
    return f"{type(error).__name__}: {one_line(error)!r}"
