"""The models by name: a family with any sizes, or a size of ours."""

from __future__ import annotations

from typing import Any

from trainables.models.base import CompletionModel
from trainables.models.mae import MAE
from trainables.models.mage import MAGE

FAMILIES: dict[str, type[CompletionModel]] = {"mae": MAE, "mage": MAGE}

_BASE: dict[str, Any] = {"embed_dim": 768, "depth": 12, "num_heads": 12}
_LARGE: dict[str, Any] = {"embed_dim": 1024, "depth": 24, "num_heads": 16}
# the tiny ones have 8 x 8 patches or tokens on the embedded 32-pixel photographs
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
            "embed_dim": 96,
            "depth": 3,
            "num_heads": 4,
            "decoder_embed_dim": 96,
            "decoder_depth": 2,
            "decoder_num_heads": 4,
            "tokenizer": {
                "channels": 16,
                "channel_multipliers": (1, 2, 4),
                "res_blocks": 1,
                "latent_channels": 16,
                "codebook_size": 256,
                "groups": 4,
            },
            "decoding_steps": 8,
        },
    ),
    "mage_vit_base_patch16": ("mage", {**_BASE, "decoder_embed_dim": 768}),
    "mage_vit_large_patch16": ("mage", {**_LARGE, "decoder_embed_dim": 1024}),
}


def build_model(name: str, **config: Any) -> CompletionModel:
    """A model with fresh weights.

    Args:
        name: a family (`mae`, `mage`) or a size in `MODELS`.
        config: the family's own options, over those of the size.

    Raises:
        KeyError: an unknown name.
    """
    family, options = MODELS.get(name, (name, {}))
    return FAMILIES[family](**{**options, **config})


__all__ = ["FAMILIES", "MODELS", "CompletionModel", "build_model"]
