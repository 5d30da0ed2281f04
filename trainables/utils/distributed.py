"""Sums over the processes that share a batch, so that no figure depends on their number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor


@dataclass(frozen=True)
class World:
    """This process's place. The default is one process alone.

    Attributes:
        rank: from 0 to `size - 1`.
        size: processes that share each global batch.
    """

    rank: int = 0
    size: int = 1

    def sum(self, value: Tensor) -> Tensor:
        """The sum of `value` over all processes, without gradient."""
        total = value.detach().clone()
        if self.size > 1:
            torch.distributed.all_reduce(total)
        return total

    def mean_and_std(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation over every element in all processes, 0-d tensors."""
        exact = value.detach().double()
        count = exact.new_tensor(float(exact.numel()))
        total, square, number = self.sum(torch.stack([exact.sum(), exact.square().sum(), count]))
        mean = total / number
        std = (square / number - mean.square()).clamp_min(0.0).sqrt()
        return mean.to(value.dtype), std.to(value.dtype)


ALONE = World()
