"""Tokens on their way into MAGE's transformer and out of it; published names and shapes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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
