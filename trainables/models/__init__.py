"""The models by name: a family with any sizes, or a size of ours."""

from __future__ import annotations

from typing import Any

from trainables.models.base import CompletionModel
from trainables.models.mae import MAE
from trainables.models.palette import Palette

FAMILIES: dict[str, type[CompletionModel]] = {"mae": MAE, "palette": Palette}

# 8 x 8 patches on the embedded 32-pixel photographs
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
    "palette_places2": ("palette", {}),
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
            "train_schedule": {"steps": 1000, "start": 1e-4, "end": 0.02},
            "test_schedule": {"steps": 100, "start": 1e-3, "end": 0.12},
            "sampler": "ddim",
            "steps": 10,
            "patch_size": 4,
        },
    ),
}


def build_model(name: str, **config: Any) -> CompletionModel:
    """A model with fresh weights.

    Args:
        name: a family (`mae`, `palette`) or a size in `MODELS`.
        config: the family's own options, over those of the size.

    Raises:
        KeyError: an unknown name.
    """
    family, options = MODELS.get(name, (name, {}))
    return FAMILIES[family](**{**options, **config})


__all__ = ["FAMILIES", "MODELS", "CompletionModel", "build_model"]
