"""Conv: a small convolutional autoencoder that fills in what is removed, in one pass."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainables.config import Formulation, TaskConfig
from trainables.models.base import (
    BatchInputs,
    CompletionModel,
    Inputs,
    Masking,
    RowLoss,
    full,
    noise_images,
)
from trainables.models.masks import hole_on_grid
from trainables.utils.rng import RandomSource, normal_like


class Conv(CompletionModel):
    """Two strided convolutions and two transposed ones.

    Args:
        image_size: pixels; the hole lies on a grid of `image_size // 4` a side.
        width: channels of the encoding.
    """

    def __init__(self, *, image_size: int = 32, width: int = 32) -> None:
        super().__init__()
        if image_size % 4:
            raise ValueError(f"image size {image_size} is not a multiple of 4")
        self.grid = image_size // 4
        self.encoder = nn.Sequential(
            nn.Conv2d(4, width, 4, 2, 1), nn.GELU(), nn.Conv2d(width, width, 4, 2, 1)
        )
        self.decoder = nn.Sequential(
            nn.GELU(),
            nn.ConvTranspose2d(width, width, 4, 2, 1),
            nn.GELU(),
            nn.ConvTranspose2d(width, 3, 4, 2, 1),
        )

    def _pixels(self, mask: Tensor) -> Tensor:
        """Turns a mask `(B, L)` into its hole `(B, 1, H, W)` bool."""
        squares = mask.view(-1, 1, self.grid, self.grid)
        return squares.repeat_interleave(4, 2).repeat_interleave(4, 3)

    def _patches(self, images: Tensor) -> Tensor:
        """Cuts `(B, 3, H, W)` into the squares of the grid, `(B, L, 48)`."""
        return nn.functional.unfold(images, 4, stride=4).transpose(1, 2)

    def _encode(self, images: Tensor, hole: Tensor) -> Tensor:
        """Encodes what is left of the images, and where the hole is: `(B, width, grid, grid)`."""
        seen = torch.cat([images.masked_fill(hole, 0.0), hole.to(images)], dim=1)
        encoded: Tensor = self.encoder(seen)
        return encoded

    def encoder_names(self) -> frozenset[str]:
        """Names both strided convolutions."""
        return frozenset(n for n, _ in self.named_parameters() if n.startswith("encoder."))

    def prepare(self, images: Tensor, masking: Masking) -> dict[str, Tensor]:
        """Returns `images`, `mask`, and `noise_images` where they are asked for."""
        source, noise = masking.source, masking.noise
        mask = hole_on_grid(masking.task, self.grid, len(images), source).to(images.device)
        drawn = {"images": images, "mask": mask}
        if noise is not False:
            drawn["noise_images"] = noise_images(images, noise, source, masking.world)
        return drawn

    def with_noise_images(self, inputs: Inputs, forget: Tensor, formulation: Formulation) -> Inputs:
        """Shows forget rows their noise image."""
        rows = forget.view(-1, 1, 1, 1)
        return {**inputs, "images": torch.where(rows, inputs["noise_images"], inputs["images"])}

    def with_noise_labels(self, batch: BatchInputs) -> Inputs:
        """Draws forget rows' targets: Gaussian pixels with the batch's mean and deviation."""
        target = self._patches(batch.inputs["images"])
        mean, std = batch.world.mean_and_std(target)
        noise = mean + std * normal_like(target, batch.generator)
        labels = torch.where(batch.forget.view(-1, 1, 1), noise, target)
        return {**batch.inputs, "target": labels}

    def encoder_features(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """Returns the encoding, one tensor `(B, width, grid, grid)`."""
        return (full(self._encode(inputs["images"], self._pixels(inputs["mask"]))),)

    def output(self, inputs: Inputs) -> Tensor:
        """Returns completed squares `(B, L, 48)`."""
        encoded = self._encode(inputs["images"], self._pixels(inputs["mask"]))
        return full(self._patches(self.decoder(encoded)))

    def output_places(self, inputs: Inputs) -> Tensor:
        """Returns `(B, L)`: 1 at removed squares."""
        return inputs["mask"].float()

    def task_loss(self, inputs: Inputs) -> RowLoss:
        """Returns the squared error of the removed squares."""
        target = inputs["target"] if "target" in inputs else self._patches(inputs["images"])
        places = self.output_places(inputs)
        error = (self.output(inputs) - target).square().mean(dim=-1)
        return RowLoss((error * places).sum(dim=1), places.sum(dim=1))

    def hole(self, rows: int, task: TaskConfig, source: RandomSource) -> Tensor:
        """Draws the removed pixels `(B, 1, H, W)` bool."""
        return self._pixels(hole_on_grid(task, self.grid, rows, source))

    def complete(self, images: Tensor, task: TaskConfig, source: RandomSource) -> Tensor:
        """Completes by one pass, pasted into the hole."""
        hole = self.hole(len(images), task, source).to(images.device)
        completed = self.decoder(self._encode(images, hole)).clamp(0.0, 1.0)
        return torch.where(hole, completed, images)
