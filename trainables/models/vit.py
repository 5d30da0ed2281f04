"""The transformer parts of MAE and MAGE: blocks, fixed positions, tokens on their way in and out.

Names and shapes are those of the published files.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

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


class TokenEmbedding(nn.Module):
    """Word and position embeddings, normalised: ids `(B, N)` -> `(B, N, D)`."""

    def __init__(self, vocabulary: int, dim: int, positions: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, dim)
        self.position_embeddings = nn.Embedding(positions, dim)
        self.LayerNorm = nn.LayerNorm(dim, eps=1e-6)
        # a part of the published format; positions are always counted from 0
        self.register_buffer("position_ids", torch.arange(positions).unsqueeze(0))

    def forward(self, ids: Tensor) -> Tensor:
        """Embeds the ids."""
        places = self.position_embeddings.weight[: ids.shape[1]]
        embedded: Tensor = self.LayerNorm(self.word_embeddings(ids) + places)
        return embedded


class TokenHead(nn.Module):
    """Decoder output `(B, N, D')` -> logits `(B, N, vocabulary)`, tied to the word embeddings."""

    def __init__(self, inside: int, dim: int, vocabulary: int) -> None:
        super().__init__()
        self.fc = nn.Linear(inside, dim)
        self.ln = nn.LayerNorm(dim)  # the one norm of the published model with torch's own eps
        self.bias = nn.Parameter(torch.zeros(1, 1, vocabulary))

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        """Computes logits of the vocabulary's first `len(words)` ids.

        `words` `(up to vocabulary, D)` are read, and not trained from here.
        """
        hidden: Tensor = self.ln(functional.gelu(self.fc(x)))
        return hidden @ words.detach().T + self.bias[..., : len(words)]
