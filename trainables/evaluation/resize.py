"""Resizes images for Inception as the reference evaluator does: antialiased, in floating point.

Parmar et al., "On Aliased Resizing and Surprising Subtleties in GAN Evaluation" (CVPR 2022).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

SIDE = 299


def resize_for_inception(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Resizes `(H, W, 3)` bytes to `(299, 299, 3)` float32 in [0, 255], bicubic, not rounded."""
    channels = [
        np.asarray(
            Image.fromarray(image[..., channel].astype(np.float32)).resize(
                (SIDE, SIDE), Image.Resampling.BICUBIC
            )
        )
        for channel in range(3)
    ]
    resized: NDArray[np.float32] = np.stack(channels, axis=-1).clip(0.0, 255.0).astype(np.float32)
    return resized


def resize_batch_for_inception(images: Tensor) -> Tensor:
    """Resizes a batch as `resize_for_inception` does an image, on its device.

    Torch's antialiased bicubic has Pillow's kernel (a = -1/2, widened where it shrinks).

    Args:
        images: `(B, 3, H, W)` bytes.

    Returns:
        `(B, 3, 299, 299)` float32 in [0, 255].
    """
    resized = functional.interpolate(
        images.float(), size=(SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True
    )
    return resized.clamp(0.0, 255.0)
