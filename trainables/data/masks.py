"""The part of an image that is removed, on a grid of patches or tokens: True is removed."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.config import TaskConfig
from trainables.data.noise import RandomSource, uniform_rows


def hole_on_grid(task: TaskConfig, grid: int, rows: int, source: RandomSource = None) -> Tensor:
    """Places removed by a task.

    Every row loses the same number of places, as an encoder over the visible ones requires; at
    least one place is removed
    and at least one is kept.

    Args:
        task: the kind and ratio; `source` is used by `random` alone.
        grid: places a side.
        rows: B.
        source: random draws.

    Returns:
        `(B, grid * grid)` bool in raster order.
    """
    if task.kind == "random":
        count = min(max(round(task.ratio * grid * grid), 1), grid * grid - 1)
        order = uniform_rows(rows, (grid * grid,), source).argsort(dim=1)
        return order.argsort(dim=1) < count
    span = min(max(round(task.ratio * grid), 1), grid - 1)
    line = torch.arange(grid)
    start = (grid - span) // 2
    inner = (line >= start) & (line < start + span)
    keep = grid - span
    # the border of an outpainting is what a centre of the remaining side leaves over
    middle = (line >= (grid - keep) // 2) & (line < (grid - keep) // 2 + keep)
    everywhere = torch.ones(grid, dtype=torch.bool)
    sides = {
        "centre": inner[:, None] & inner[None, :],
        "left": everywhere[:, None] & (line < span)[None, :],
        "right": everywhere[:, None] & (line >= keep)[None, :],
        "up": (line < span)[:, None] & everywhere[None, :],
        "down": (line >= keep)[:, None] & everywhere[None, :],
        "outpaint": ~(middle[:, None] & middle[None, :]),
    }
    return sides[task.kind].reshape(1, -1).expand(rows, -1).clone()
