"""Pasting a completion into an image by a soft mask, as the paper blends MAGE's."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

# pixels of an image of 256: how far the hole grows, and the deviation of the blur
_MARGIN, _RADIUS, _SIZE = 14, 7, 256


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
