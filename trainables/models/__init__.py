"""The models by name: a family with any sizes, or a size of ours."""

from __future__ import annotations

from typing import Any

import torch

from trainables.models.base import CompletionModel
from trainables.models.checkpoints import load_published
from trainables.models.mae import MAE
from trainables.models.mage import MAGE
from trainables.models.palette import Palette
from trainables.utils.errors import CheckpointError

FAMILIES: dict[str, type[CompletionModel]] = {"mae": MAE, "mage": MAGE, "palette": Palette}

_BASE: dict[str, Any] = {"embed_dim": 768, "depth": 12, "num_heads": 12}
_LARGE: dict[str, Any] = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
# On the embedded 32-pixel photographs MAE has 8 x 8 patches. MAGE has 16 x 16 tokens: those around
# a hole are masked too, and with half as many a side only the outermost ring of an image would tell
# what the half in its centre looks like.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "mae_tiny": (
        "mae",
        {
            "image_size": 32,
            "patch_size": 4,
            "embed_dim": 96,
            "depth": 3,
            "num_heads": 4,
            "decoder_embed_dim": 64,
            "decoder_depth": 2,
            "decoder_num_heads": 4,
        },
    ),
    "mae_vit_base_patch16": ("mae", _BASE),
    "mae_vit_large_patch16": ("mae", _LARGE),
    "mage_tiny": (
        "mage",
        {
            "image_size": 32,
            "embed_dim": 64,
            "depth": 3,
            "num_heads": 4,
            "decoder_embed_dim": 64,
            "decoder_depth": 2,
            "decoder_num_heads": 4,
            "tokenizer": {
                "channels": 16,
                "channel_multipliers": (1, 2),
                "res_blocks": 1,
                "latent_channels": 16,
                "codebook_size": 256,
                # a code is a colour: told by its neighbours or by all of the image, as a tokenizer
                # without this learns it, colours are lost on a small transformer
                "groups": None,
                "lone_weight": 1.5,
            },
            "decoding_steps": 8,
            # At temperature 6 and with the smoothing's share the Frechet distance to the
            # photographs is half as large, and the specks that it takes for texture look wrong.
            "temperature": 1.0,
            "unsmooth": True,
        },
    ),
    "mage_vit_base_patch16": ("mage", {**_BASE, "decoder_embed_dim": 768}),
    "mage_vit_large_patch16": ("mage", {**_LARGE, "decoder_embed_dim": 1024}),
    "palette_tiny": (
        "palette",
        {
            "image_size": 32,
            "inner_channels": 16,
            "channel_multipliers": (1, 1, 2, 4),
            "attention_rates": (4,),
            "head_channels": 16,
            "res_blocks": 1,
            "norm_groups": 8,
            "predicts": "velocity",
            # both end where nothing of the image is left: a hole's colour is decided there
            "train_schedule": {"steps": 1000, "start": 1e-4, "end": 0.02},
            "test_schedule": {"steps": 100, "start": 1e-3, "end": 0.2},
            "sampler": "ddim",
            "steps": 10,
            "patch_size": 4,
        },
    ),
    "palette_places2": ("palette", {}),
}


def build_model(name: str, **config: Any) -> CompletionModel:
    """Returns a model with fresh weights.

    Args:
        name: a family (`mae`, `mage`, `palette`) or a size in `MODELS`.
        config: the family's own options, over those of the size.

    Raises:
        KeyError: an unknown name.
    """
    family, options = MODELS.get(name, (name, {}))
    model = FAMILIES[family](**{**options, **config})
    # convolutions are faster so, on CPUs too; a ViT has one, and its tokens are no images
    return model if family == "mae" else model.to(memory_format=torch.channels_last)


__all__ = [
    "FAMILIES",
    "MODELS",
    "CheckpointError",
    "CompletionModel",
    "build_model",
    "load_published",
]
