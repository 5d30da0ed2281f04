"""The reference evaluator's resizing of one image for Inception, by Pillow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize_for_inception(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Resizes `(H, W, 3)` bytes to `(299, 299, 3)` float32 in [0, 255], bicubic, not rounded."""
    channels = [
        Image.fromarray(image[..., channel].astype(np.float32)).resize(
            (299, 299), Image.Resampling.BICUBIC
        )
        for channel in range(3)
    ]
    resized: NDArray[np.float32] = np.stack(channels, axis=-1).clip(0.0, 255.0).astype(np.float32)
    return resized
