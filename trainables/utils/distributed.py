"""Sums over the processes that share a batch, so that no result depends on their number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor


@dataclass(frozen=True)
class World:
    """The processes that share a batch, as one of them sees them. The default is one alone.

    Attributes:
        rank: from 0 to `size - 1`.
        size: processes that share each global batch.
    """

    rank: int = 0
    size: int = 1

    def sum(self, value: Tensor) -> Tensor:
        """Returns the sum of `value` over all processes, without gradient."""
        total = value.detach().clone()
        if self.size > 1:
            torch.distributed.all_reduce(total)
        return total

    def mean_and_std(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and standard deviation of all elements in all processes, 0-d tensors."""
        exact = value.detach().double()
        count = exact.new_tensor(float(exact.numel()))
        total, square, number = self.sum(torch.stack([exact.sum(), exact.square().sum(), count]))
        mean = total / number
        std = (square / number - mean.square()).clamp_min(0.0).sqrt()
        return mean.to(value.dtype), std.to(value.dtype)


ALONE = World()
