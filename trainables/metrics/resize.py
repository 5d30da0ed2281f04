"""The resize before Inception that the reference evaluator uses: antialiased, in floating point.

Parmar et al., "On Aliased Resizing and Surprising Subtleties in GAN Evaluation" (CVPR 2022).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 299


def resize_for_inception(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """`(H, W, 3)` bytes to `(299, 299, 3)` float32 in [0, 255], bicubic, not rounded."""
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
