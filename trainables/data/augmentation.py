"""Draws augmented views of training images: turned, mirrored and toned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainables.data.batches import RowReader
from trainables.utils.rng import mix_seed

_TONE = 0.25  # standard deviation of the logarithm of a channel's gamma


@dataclass(frozen=True)
class TurnedViews:
    """Shows images in one of eight turns and reflections, each channel by a gamma of its own.

    It is a `trainables.data.batches.RowReader`. A view is a function of the seed, the image and how
    often it was seen. A gamma keeps black and white where they are, so that nothing is clipped.

    Attributes:
        dataset: gives the images; they are square.
        seed: of the views.
        grey: the channels have one gamma, since the images are grey.
    """

    dataset: RowReader
    seed: int
    grey: bool = False

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        """Returns images as bytes `(B, H, W, 3)`.

        Args:
            rows: of the manifest, `(B,)`.
            views: how often each was seen before, `(B,)`.
        """
        plain = self.dataset.read(rows, views).numpy()
        seen = [
            self._view(image, np.random.default_rng(mix_seed(self.seed, "view", int(row), int(n))))
            for image, row, n in zip(plain, rows, views, strict=True)
        ]
        return torch.from_numpy(np.stack(seen))

    def expand(self, compact: Tensor) -> Tensor:
        """Turns what `read` gave into images `(B, 3, H, W)` float32 in [0, 1]."""
        return self.dataset.expand(compact)

    def _view(self, image: NDArray[np.uint8], chance: np.random.Generator) -> NDArray[np.uint8]:
        turned = np.rot90(image, int(chance.integers(4)))
        if chance.integers(2):
            turned = turned[:, ::-1]
        gamma = np.exp(_TONE * chance.standard_normal(3))
        if self.grey:
            gamma[:] = gamma[0]
        # a table a channel: a byte has few values
        tables = np.rint(255.0 * (np.arange(256.0)[:, None] / 255.0) ** gamma).astype(np.uint8)
        toned: NDArray[np.uint8] = tables[turned, np.arange(3)]
        return toned
