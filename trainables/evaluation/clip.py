"""Finds and reads CLIP models by open_clip; the one module that imports it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor, nn

from trainables.config import NetworksConfig
from trainables.config.evaluation import WEIGHTS_OPTIONS
from trainables.evaluation.networks import ClipNetwork
from trainables.models.checkpoints import read_state
from trainables.utils.errors import CheckpointError
from trainables.utils.text import close_names, one_line
from trainables.utils.waiting import waiting

_SCHEMAS = ("local-dir", "hf-hub")
_DOWNLOAD_MOST_S = 3600.0


def clip_file(config: NetworksConfig) -> Path:
    """Returns the file of weights of a CLIP model that has none given, downloaded if need be.

    Raises:
        CheckpointError: the model is unknown, or its weights cannot be had; one line that says
            where they come from and which option takes a file.
    """
    option = f"--set {WEIGHTS_OPTIONS['clip']}=FILE"
    schema, name = _schema(config.embeddings)
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
    tag, chosen = "", {"hf_hub": f"{name}/"}
    if not schema:
        _model_config(config)
        tags = open_clip.list_pretrained_tags_by_model(name)
        if config.clip_pretrained not in tags:
            raise CheckpointError(
                f"networks.clip_pretrained={config.clip_pretrained} is no weights of {name}, which "
                f"has {', '.join(tags) or 'none'}; or {option}"
            )
        tag = f" {config.clip_pretrained}"
        chosen = open_clip.get_pretrained_cfg(name, config.clip_pretrained)
    try:
        with waiting(_DOWNLOAD_MOST_S):  # as for another process of this machine that downloads it
            return Path(str(open_clip.download_pretrained(chosen)))
    except Exception as error:  # whatever the client of Hugging Face meets
        source = str(chosen.get("hf_hub") or chosen.get("url")).rstrip("/")
        raise CheckpointError(
            f"the weights of CLIP {name}{tag} are not in the cache of Hugging Face and could not "
            f"be downloaded from {source} ({named_line(error)}): fetch "
            f"{HF_SAFE_WEIGHTS_NAME} or {HF_WEIGHTS_NAME} there, and {option}"
        ) from None


def _schema(embeddings: str) -> tuple[str, str]:
    """Splits `local-dir:PATH` and `hf-hub:PAGE`; the name of a known model has no schema."""
    schema, colon, name = embeddings.partition(":")
    return (schema, name) if colon and schema in _SCHEMAS else ("", embeddings)


def _model_config(config: NetworksConfig) -> dict[str, Any]:
    """Returns open_clip's description of the model.

    Raises:
        CheckpointError: it knows no such model, or its folder or page holds no description.
    """
    try:
        found = open_clip.get_model_config(config.embeddings)
    except Exception as error:  # a page of Hugging Face, or a file of the user's
        told = f"networks.embeddings={config.embeddings}: no open_clip_config.json that can be read"
        raise CheckpointError(f"{told} ({named_line(error)})") from None
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


def clip_network(config: NetworksConfig, path: Path) -> ClipNetwork:
    """Returns the image tower of a CLIP model, with the transform of its weights' training.

    Args:
        config: says which model.
        path: the file of its weights.

    Raises:
        CheckpointError: a truncated, foreign or hostile file, in one line.
    """
    described = _model_config(config)
    chosen: dict[str, Any] = {}
    if not _schema(config.embeddings)[0]:
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
            f"{path}: not the weights of CLIP {config.embeddings} ({named_line(error)})"
        ) from None
    tower = _EncodeImage(model) if isinstance(model, open_clip.CoCa) else model.visual
    for name, value in tower.state_dict().items():
        if not bool(torch.isfinite(value).all()):
            raise CheckpointError(f"{path}: {name} holds NaN or infinity, expected finite weights")
    transform = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    return ClipNetwork(tower, transform)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences open_clip's warning of a model without weights, which it gets a line later."""

    def errors_alone(record: logging.LogRecord) -> bool:
        return record.levelno > logging.WARNING

    root = logging.getLogger()
    root.addFilter(errors_alone)
    try:
        yield
    finally:
        root.removeFilter(errors_alone)


def named_line(error: Exception) -> str:
    """Returns the kind of an error and its text on one line."""
    return f"{type(error).__name__}: {one_line(error)!r}"
