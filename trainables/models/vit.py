"""What MAE and MAGE have in common: transformer blocks, fixed positions, ImageNet's statistics."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def sincos_positions(dim: int, grid: int) -> Tensor:
    """Returns a fixed sine-cosine table `(1, 1 + grid * grid, dim)`; the class token's row is 0."""
    omega = 1.0 / 10000 ** (np.arange(dim // 4, dtype=np.float64) / (dim / 4.0))
    rows, columns = np.meshgrid(np.arange(grid), np.arange(grid), indexing="ij")

    def encode(places: np.ndarray) -> np.ndarray:
        angles = places.reshape(-1, 1) * omega
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    table = np.concatenate([encode(columns), encode(rows)], axis=1)
    return torch.from_numpy(np.concatenate([np.zeros((1, dim)), table])).float().unsqueeze(0)


def transformer_block(dim: int, heads: int) -> nn.Module:
    """Returns a block of attention and a perceptron four times as wide, with biases."""
    # timm types a norm layer as a class, and takes any callable that makes one
    norm: Any = partial(nn.LayerNorm, eps=1e-6)
    return Block(dim, heads, mlp_ratio=4.0, qkv_bias=True, norm_layer=norm)
