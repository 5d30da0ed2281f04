"""The part of an image that is removed, on a grid of pixels, patches or tokens: True is removed.

And the pasting of a completion into it by a soft mask, as the paper blends MAGE's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from trainables.config import TaskConfig
from trainables.utils.rng import RandomSource, uniform_rows

_MOST_STROKES, _VERTICES = 3, 5
# of the share of masked tokens in MAGE's training: normal, cut at the least share and at 1
_MASK_MEAN, _MASK_STD = 0.55, 0.25
# of the sides of a box
_WIDEST_ASPECT = 4
# pixels of an image of 256: how far the hole grows, and the deviation of the blur
_MARGIN, _RADIUS, _SIZE = 14, 7, 256


def hole_on_grid(task: TaskConfig, grid: int, rows: int, source: RandomSource = None) -> Tensor:
    """Draws the places that a task removes.

    Every row loses the same number of places, as an encoder over the visible ones requires; at
    least one place is removed and at least one is kept.

    Args:
        task: the kind and ratio; `source` is used by `random`, `box`, `brush` and `hybrid`.
        grid: places a side.
        rows: B.
        source: random draws.

    Returns:
        `(B, grid * grid)` bool in raster order.
    """
    count = min(max(round(task.ratio * grid * grid), 1), grid * grid - 1)
    if task.kind == "random":
        return _lowest(uniform_rows(rows, (grid * grid,), source), count)
    if task.kind == "box":
        return _box(round(task.ratio**0.5 * grid), grid, rows, source)
    if task.kind == "brush":
        return _lowest(_distance_to_strokes(grid, rows, source), count)
    if task.kind == "hybrid":
        # half of the area is the box's, and strokes cover what is left of the share
        box = _box(math.floor((0.5 * task.ratio) ** 0.5 * grid), grid, rows, source)
        return _lowest(_distance_to_strokes(grid, rows, source).masked_fill(box, -1.0), count)
    return _fixed(task, grid).reshape(1, -1).expand(rows, -1).clone()


def hole_in_pixels(
    task: TaskConfig, grid: int, side: int, rows: int, source: RandomSource = None
) -> Tensor:
    """Draws the hole of `hole_on_grid` in pixels, `(B, 1, grid * side, grid * side)` bool.

    Args:
        task: the kind and ratio.
        grid: places a side.
        side: pixels a side of each place.
        rows: B.
        source: random draws.
    """
    mask = hole_on_grid(task, grid, rows, source).view(rows, 1, grid, grid)
    return mask.repeat_interleave(side, 2).repeat_interleave(side, 3)


def masked_share(uniform: Tensor, least: float) -> Tensor:
    """Returns quantiles of the normal distribution of masked shares, cut to [least, 1]."""
    low, high = (
        torch.special.ndtr(torch.tensor((end - _MASK_MEAN) / _MASK_STD, dtype=torch.float64))
        for end in (least, 1.0)
    )
    quantile = torch.special.ndtri(low + uniform.double() * (high - low))
    share: Tensor = _MASK_MEAN + _MASK_STD * quantile
    return share.clamp(least, 1.0)


def _fixed(task: TaskConfig, grid: int) -> Tensor:
    """Returns the hole `(grid, grid)` of a task that draws nothing."""
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
    return sides[task.kind]


def _lowest(score: Tensor, count: int) -> Tensor:
    """Marks the `count` lowest of each row of `(B, L)`; the first of equal ones goes first."""
    return score.argsort(dim=1, stable=True).argsort(dim=1) < count


def _box(side: int, grid: int, rows: int, source: RandomSource) -> Tensor:
    """Draws a rectangle anywhere, `(B, grid * grid)`.

    Its sides are drawn from the whole numbers whose product is that of a square of `side`.
    """
    side = min(max(side, 1), grid - 1)
    heights = [
        height
        for height in range(math.ceil(side * side / grid), grid + 1)
        if side * side % height == 0
        and max(height, side * side // height)
        <= _WIDEST_ASPECT * min(height, side * side // height)
    ]
    drawn = uniform_rows(rows, (3,), source)
    height = torch.tensor(heights)[(drawn[:, 0] * len(heights)).long()]
    top = (drawn[:, 1] * (grid - height + 1)).long()
    width = side * side // height
    left = (drawn[:, 2] * (grid - width + 1)).long()
    line = torch.arange(grid)
    down = (line >= top[:, None]) & (line < (top + height)[:, None])
    across = (line >= left[:, None]) & (line < (left + width)[:, None])
    return (down[:, :, None] & across[:, None, :]).flatten(1)


def _distance_to_strokes(grid: int, rows: int, source: RandomSource) -> Tensor:
    """Measures from every place to the nearest of a few random strokes, `(B, grid * grid)`.

    A stroke wanders from vertex to vertex, as in the free-form masks of Yu et al., "Free-Form Image
    Inpainting with Gated Convolution" (ICCV 2019); here the brush is as wide as the share needs.
    """
    strokes = (uniform_rows(rows, (1,), source) * _MOST_STROKES).long()
    drawn = uniform_rows(rows, (_MOST_STROKES, _VERTICES, 2), source)
    start = drawn[:, :, :1]
    # the first turn may be any, the others bend by at most a right angle
    turns = (drawn[:, :, 1:, 0] - 0.5) * math.pi
    turns[:, :, 0] *= 2.0
    angles = turns.cumsum(dim=2)
    lengths = 0.1 + 0.3 * drawn[:, :, 1:, 1]
    steps = torch.stack([angles.cos() * lengths, angles.sin() * lengths], dim=3)
    vertices = torch.cat([start, start + steps.cumsum(dim=2)], dim=2)
    # a stroke that leaves the image is mirrored at its edge
    vertices = 1.0 - (vertices.remainder(2.0) - 1.0).abs()
    line = (torch.arange(grid) + 0.5) / grid
    places = torch.cartesian_prod(line, line)
    nearest = torch.full((rows, grid * grid), math.inf)
    for stroke in range(_MOST_STROKES):
        for index in range(_VERTICES - 1):
            first, last = vertices[:, stroke, index], vertices[:, stroke, index + 1]
            distance = _distance_to_segments(places, first, last)
            nearest = torch.where(strokes >= stroke, nearest.minimum(distance), nearest)
    return nearest


def _distance_to_segments(places: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Measures from places `(P, 2)` to a segment a row between points `(B, 2)`: `(B, P)`."""
    along = last - first
    offset = places[None] - first[:, None]
    squared = along.square().sum(dim=1).clamp_min(1e-12)
    share = ((offset * along[:, None]).sum(dim=2) / squared[:, None]).clamp(0.0, 1.0)
    return (offset - share[:, :, None] * along[:, None]).square().sum(dim=2).sqrt()


def _reach(size: int) -> tuple[int, float, int]:
    """Returns margin, deviation and half width of the blur, in pixels of an image of a size."""
    deviation = _RADIUS * size / _SIZE
    return round(_MARGIN * size / _SIZE), deviation, math.ceil(3 * deviation)


def rim(size: int) -> int:
    """Counts the pixels around a hole that `blend` may change."""
    margin, _, half = _reach(size)
    return margin + half


def blend(completed: Tensor, images: Tensor, hole: Tensor) -> Tensor:
    """Returns the completion in the hole, the image far from it, and between them a mixture.

    The weight of the completion is the hole grown by 14 pixels and blurred by a Gaussian of 7, at
    256 pixels; it is 1 in all of the hole, so that no hidden pixel shows through.

    Args:
        completed: `(B, 3, H, W)`.
        images: `(B, 3, H, W)`.
        hole: `(B, 1, H, W)` bool.
    """
    margin, deviation, half = _reach(images.shape[-1])
    grown = functional.max_pool2d(hole.to(images.dtype), 2 * margin + 1, stride=1, padding=margin)
    line = torch.arange(-half, half + 1, device=images.device, dtype=images.dtype)
    kernel = (-0.5 * (line / deviation).square()).exp()
    kernel = kernel / kernel.sum()
    soft = functional.pad(grown, (half, half, half, half), mode="replicate")
    soft = functional.conv2d(soft, kernel.view(1, 1, 1, -1))
    soft = functional.conv2d(soft, kernel.view(1, 1, -1, 1)).clamp(0.0, 1.0)
    mixed = images + soft * (completed - images)
    return torch.where(hole, completed, torch.where(soft > 0.0, mixed, images))
