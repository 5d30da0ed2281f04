"""Files of the real formats of the paper's networks, with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from trainables.evaluation.networks import fid_inception

CLIP: dict[str, Any] = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 40, "width": 16, "heads": 2, "layers": 1},
}
TRANSFORM = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25], "interpolation": "bilinear"}


def drawn(network: nn.Module, seed: int) -> nn.Module:
    """Weights that keep the signal's size through the layers, so that images stay apart."""
    torch.manual_seed(seed)
    for each in network.modules():
        if isinstance(each, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(each.weight, nonlinearity="relu")
            if each.bias is not None:
                nn.init.normal_(each.bias, std=0.1)
        elif isinstance(each, nn.BatchNorm2d):
            nn.init.uniform_(each.weight, 0.8, 1.2)
            nn.init.normal_(each.bias, std=0.1)
            nn.init.normal_(each.running_mean, std=0.1)
            nn.init.uniform_(each.running_var, 0.8, 1.2)
    return network


def inception_state(seed: int = 1) -> dict[str, Tensor]:
    return dict(drawn(fid_inception(), seed).state_dict())


def write_inception(path: Path, seed: int = 1) -> Path:
    """A bare state-dict, older than batch counters, as the published file."""
    state = {n: e for n, e in inception_state(seed).items() if not n.endswith("batches_tracked")}
    torch.save(state, path)
    return path


def places_state(seed: int = 2) -> dict[str, Tensor]:
    network = drawn(resnet50(weights=None, num_classes=365), seed)
    for each in network.modules():
        if type(each).__name__ == "Bottleneck":
            nn.init.constant_(each.bn3.weight, 0.2)  # or the sum of the branches explodes
    return dict(network.state_dict())


def write_places(path: Path, seed: int = 2) -> Path:
    """A training checkpoint of a data-parallel network, in the format before zip archives."""
    state = {
        f"module.{name}": each
        for name, each in places_state(seed).items()
        if not name.endswith("batches_tracked")
    }
    whole = {"epoch": 90, "arch": "resnet50", "state_dict": state, "best_prec1": 54.7}
    torch.save(whole, path, _use_new_zipfile_serialization=False)
    return path


def write_clip(folder: Path, seed: int = 3) -> Path:
    """A folder as a page of a model of open_clip has it."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model = open_clip.CLIP(**CLIP)
    described = {"model_cfg": CLIP, "preprocess_cfg": TRANSFORM}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder
