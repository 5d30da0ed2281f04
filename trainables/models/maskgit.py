"""Filling masked tokens in rounds, the surest first.

Chang et al., "MaskGIT: Masked Generative Image Transformer" (CVPR 2022), as MAGE completes images.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from trainables.utils.rng import RandomSource, uniform_rows

# tokens (B, L), masked (B, L) -> shares of the codes (B, L, C)
Predict = Callable[[Tensor, Tensor], Tensor]


def decode(
    predict: Predict,
    tokens: Tensor,
    masked: Tensor,
    source: RandomSource,
    *,
    steps: int,
    temperature: float,
) -> Tensor:
    """Draws the masked tokens.

    After round t of T a share cos(pi / 2 * t / T) of all tokens may still be masked. A round whose
    share is at or above an image's own masked share is skipped, and the last leaves none.

    Args:
        predict: shares of the codes, given tokens and what of them is masked; of any sum.
        tokens: `(B, L)` int64; what the masked hold does not matter.
        masked: `(B, L)` bool.
        source: draws, equally many for a row whatever the others are.
        steps: T.
        temperature: of the Gumbel noise on the shares' logarithms by which a round keeps tokens; it
            falls to 0 over the rounds.

    Returns:
        `(B, L)` int64; the tokens that are not masked are those given.
    """
    tokens, masked = tokens.clone(), masked.clone()
    share = masked.float().mean(dim=1)
    for step in range(1, steps + 1):
        ratio = math.cos(math.pi / 2 * step / steps) if step < steps else 0.0
        draws = uniform_rows(len(tokens), (2, tokens.shape[1]), source).to(tokens.device)
        busy = (share > ratio).nonzero().flatten()
        if len(busy):
            tokens[busy], masked[busy] = _round(
                predict(tokens[busy], masked[busy]),
                tokens[busy],
                masked[busy],
                draws[busy],
                left=int(ratio * tokens.shape[1]),
                temperature=temperature * (1.0 - step / steps),
            )
    return tokens


def _round(
    shares: Tensor, tokens: Tensor, masked: Tensor, draws: Tensor, *, left: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """Draws every masked token once; returns the tokens and which of them are masked again.

    Args:
        shares: `(B, L, C)`, of any sum.
        tokens: `(B, L)` int64.
        masked: `(B, L)` bool.
        draws: `(B, 2, L)`, uniform: for the codes, and for the noise on what is sure.
        left: most tokens that are masked again; one token at least stays filled.
        temperature: of that noise.
    """
    sums = shares.cumsum(dim=-1)
    place = torch.searchsorted(sums, (draws[:, 0] * sums[..., -1]).unsqueeze(-1), right=True)
    sampled = place.clamp_max(shares.shape[-1] - 1)
    sure = shares.gather(-1, sampled).squeeze(-1).log()
    gumbel = -(-draws[:, 1].clamp_min(1e-20).log()).clamp_min(1e-20).log()
    confidence = torch.where(masked, sure + temperature * gumbel, math.inf)
    most = (masked.sum(dim=1, keepdim=True) - 1).clamp_max(left)
    rank = confidence.argsort(dim=1).argsort(dim=1)
    return torch.where(masked, sampled.squeeze(-1), tokens), rank < most
