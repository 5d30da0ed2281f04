"""Weights and images that anyone can rebuild: the numbers in `data/` were computed with these."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor, nn
from torch.nn import functional


def parameter_value(name: str, shape: torch.Size, seed: int) -> Tensor:
    """The value of a published parameter, by its name, its shape and a seed."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + 1_000_003 * seed)
    value = torch.randn(shape, generator=generator, dtype=torch.float64)
    if len(shape) < 2:
        value = 1.0 + 0.1 * value if name.endswith(".weight") else 0.1 * value
    elif name.endswith(("embedding.weight", "embeddings.weight")):
        value = 0.5 * value
    else:
        value = value / max(shape[1:].numel(), 1) ** 0.5
    return value.float()


@torch.no_grad()
def fill(model: nn.Module, seed: int) -> None:
    """Gives every parameter its value; buffers keep what the architecture computes."""
    for name, parameter in model.named_parameters():
        parameter.copy_(parameter_value(name, parameter.shape, seed))


def smooth_images(seed: int, rows: int, size: int) -> Tensor:
    """Images `(rows, 3, size, size)` in [0, 1]."""
    generator = torch.Generator().manual_seed(10_000 + seed)
    noise = torch.rand((rows, 3, size, size), generator=generator)
    return functional.avg_pool2d(functional.pad(noise, (2, 2, 2, 2), mode="reflect"), 5, 1)
