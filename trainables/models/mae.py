"""MAE: a masked autoencoder with a ViT encoder over visible patches and a light decoder.

He et al., "Masked Autoencoders Are Scalable Vision Learners" (CVPR 2022). State-dict names and
shapes are those of the
published `mae_visualize_vit_*` files; kept patches stay in raster order.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from trainables.config import Formulation, TaskConfig
from trainables.models.base import (
    CompletionModel,
    Inputs,
    NoiseRows,
    RowLoss,
    full,
    noise_images,
)
from trainables.models.masks import hole_on_grid
from trainables.utils.distributed import ALONE, World
from trainables.utils.rng import RandomSource, normal_like

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def sincos_positions(dim: int, grid: int) -> Tensor:
    """Fixed sine-cosine table `(1, 1 + grid * grid, dim)`, a zero row first for the class token."""
    omega = 1.0 / 10000 ** (np.arange(dim // 4, dtype=np.float64) / (dim / 4.0))
    rows, columns = np.meshgrid(np.arange(grid), np.arange(grid), indexing="ij")

    def encode(places: np.ndarray) -> np.ndarray:
        angles = places.reshape(-1, 1) * omega
        return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)

    table = np.concatenate([encode(columns), encode(rows)], axis=1)
    return torch.from_numpy(np.concatenate([np.zeros((1, dim)), table])).float().unsqueeze(0)


class MAE(CompletionModel):
    """Masked autoencoder.

    Args:
        image_size, patch_size: pixels; the grid is `image_size // patch_size` a side.
        embed_dim, depth, num_heads: of the encoder.
        decoder_embed_dim, decoder_depth, decoder_num_heads: of the decoder.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        decoder_embed_dim: int = 512,
        decoder_depth: int = 8,
        decoder_num_heads: int = 16,
    ) -> None:
        super().__init__()
        if image_size % patch_size:
            raise ValueError(
                f"image size {image_size} is not a multiple of patch size {patch_size}"
            )
        self.patch_size = patch_size
        self.grid = image_size // patch_size
        # timm types a norm layer as a class, and takes any callable that makes one
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        block = partial(Block, mlp_ratio=4.0, qkv_bias=True, norm_layer=norm)
        places = self.grid**2
        self.patch_embed = PatchEmbed(image_size, patch_size, 3, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, places + 1, embed_dim), requires_grad=False)
        self.blocks = nn.ModuleList([block(embed_dim, num_heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.decoder_embed = nn.Linear(embed_dim, decoder_embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_embed_dim))
        self.decoder_pos_embed = nn.Parameter(
            torch.zeros(1, places + 1, decoder_embed_dim), requires_grad=False
        )
        self.decoder_blocks = nn.ModuleList(
            [block(decoder_embed_dim, decoder_num_heads) for _ in range(decoder_depth)]
        )
        self.decoder_norm = nn.LayerNorm(decoder_embed_dim, eps=1e-6)
        self.decoder_pred = nn.Linear(decoder_embed_dim, patch_size**2 * 3)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        self.pos_embed.data.copy_(sincos_positions(self.pos_embed.shape[-1], self.grid))
        self.decoder_pos_embed.data.copy_(
            sincos_positions(self.decoder_pos_embed.shape[-1], self.grid)
        )
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.data.flatten(1))
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def patchify(self, images: Tensor) -> Tensor:
        """`(B, 3, H, W)` -> `(B, L, patch * patch * 3)`, colour last."""
        p, g = self.patch_size, self.grid
        x = images.reshape(len(images), 3, g, p, g, p)
        return x.permute(0, 2, 4, 3, 5, 1).reshape(len(x), g * g, p * p * 3)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """The inverse of `patchify`: `(B, 3, H, W)`."""
        p, g = self.patch_size, self.grid
        x = patches.reshape(len(patches), g, g, p, p, 3).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(len(patches), 3, g * p, g * p)

    def normalise(self, images: Tensor) -> Tensor:
        """Images in [0, 1] as the published weights know them: by ImageNet's mean and deviation."""
        return (images - self.mean) / self.std

    def encode(self, images: Tensor, mask: Tensor) -> Tensor:
        """Encoder output.

        Args:
            images: `(B, 3, H, W)`, normalised.
            mask: `(B, L)` bool, True is removed; every row removes equally many.

        Returns:
            `(B, 1 + kept, D)`: class token, then the kept patches in raster order.
        """
        kept = ~mask.bool()
        count = int(kept[0].sum())
        if not bool((kept.sum(dim=1) == count).all()):
            raise ValueError("every row of a batch must keep the same number of patches")
        x = self.patch_embed(images) + self.pos_embed[:, 1:]
        x = x[kept].reshape(len(x), count, -1)
        token = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([token, x], dim=1)
        for block in self.blocks:
            x = block(x)
        latent: Tensor = self.norm(x)
        return latent

    def decode(self, latent: Tensor, mask: Tensor) -> Tensor:
        """Predicted patches `(B, L, patch * patch * 3)` from `encode`'s output."""
        x = self.decoder_embed(latent)
        full = self.mask_token.to(x.dtype).repeat(len(x), mask.shape[1], 1)
        full[~mask.bool()] = x[:, 1:].reshape(-1, x.shape[-1])
        x = torch.cat([x[:, :1], full], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        patches: Tensor = self.decoder_pred(self.decoder_norm(x))
        return patches[:, 1:]

    def encoder_names(self) -> frozenset[str]:
        """Patch embedding, class token, blocks and last norm; the position table is fixed."""
        parts = ("patch_embed.", "cls_token", "blocks.", "norm.")
        return frozenset(name for name, _ in self.named_parameters() if name.startswith(parts))

    def heavy_blocks(self) -> list[nn.Module]:
        """Transformer blocks of encoder and decoder."""
        return [*self.blocks, *self.decoder_blocks]

    def prepare(
        self,
        images: Tensor,
        task: TaskConfig,
        source: RandomSource,
        world: World = ALONE,
        noise: NoiseRows = True,
    ) -> dict[str, Tensor]:
        """`images`; `noise_images`, see `noise_images`; `mask`."""
        mask = hole_on_grid(task, self.grid, len(images), source).to(images.device)
        drawn = {"images": self.normalise(images), "mask": mask}
        if noise is not False:
            drawn["noise_images"] = self.normalise(noise_images(images, noise, source, world))
        return drawn

    def with_noise_images(self, inputs: Inputs, forget: Tensor, formulation: Formulation) -> Inputs:
        """Forget rows see their noise image; paper and released code agree here."""
        rows = forget.view(-1, 1, 1, 1)
        return {**inputs, "images": torch.where(rows, inputs["noise_images"], inputs["images"])}

    def with_noise_labels(
        self,
        inputs: Inputs,
        forget: Tensor,
        source: RandomSource,
        world: World,
        formulation: Formulation,
    ) -> Inputs:
        """Forget rows' targets are Gaussian patches with the batch's mean and deviation."""
        target = self.patchify(inputs["images"])
        mean, std = world.mean_and_std(target)
        noise = mean + std * normal_like(target, source)
        return {**inputs, "target": torch.where(forget.view(-1, 1, 1), noise, target)}

    def encoder_features(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """Class token and kept patches after the last norm, one tensor `(B, 1 + kept, D)`."""
        return (full(self.encode(inputs["images"], inputs["mask"])),)

    def output(self, inputs: Inputs) -> Tensor:
        """Predicted patches `(B, L, patch * patch * 3)`."""
        return full(self.decode(self.encode(inputs["images"], inputs["mask"]), inputs["mask"]))

    def output_places(self, inputs: Inputs) -> Tensor:
        """`(B, L)`: 1 at removed patches."""
        return inputs["mask"].float()

    def task_loss(self, inputs: Inputs) -> RowLoss:
        """Mean squared error of the removed patches, not normalised by patch (He et al., 2022)."""
        target = inputs["target"] if "target" in inputs else self.patchify(inputs["images"])
        places = self.output_places(inputs)
        error = (self.output(inputs) - target).square().mean(dim=-1)
        return RowLoss((error * places).sum(dim=1), places.sum(dim=1))

    def hole(self, rows: int, task: TaskConfig, source: RandomSource) -> Tensor:
        """Removed pixels `(B, 1, H, W)` bool."""
        mask = hole_on_grid(task, self.grid, rows, source).view(rows, 1, self.grid, self.grid)
        return mask.repeat_interleave(self.patch_size, 2).repeat_interleave(self.patch_size, 3)

    def complete(self, images: Tensor, task: TaskConfig, source: RandomSource) -> Tensor:
        """One pass; removed patches are pasted into the image."""
        hole = self.hole(len(images), task, source).to(images.device)
        mask = hole[:, 0, :: self.patch_size, :: self.patch_size].flatten(1)
        visible = self.normalise(images.masked_fill(hole, 0.0))
        completed = self.unpatchify(self.decode(self.encode(visible, mask), mask))
        completed = (completed * self.std + self.mean).clamp(0.0, 1.0)
        return torch.where(hole, completed, images)
