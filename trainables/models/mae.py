"""MAE: a masked autoencoder with a ViT encoder over visible patches and a light decoder.

He et al., "Masked Autoencoders Are Scalable Vision Learners" (CVPR 2022). State-dict names and
shapes are those of the published `mae_visualize_vit_*` files; kept patches stay in raster order.
"""

from __future__ import annotations

import torch
from timm.layers import PatchEmbed
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
    normal_images,
)
from trainables.models.masks import hole_in_pixels, hole_on_grid
from trainables.models.vit import IMAGENET_MEAN, IMAGENET_STD, sincos_positions, transformer_block
from trainables.utils.rng import RandomSource, normal_like


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
        places = self.grid**2
        self.patch_embed = PatchEmbed(image_size, patch_size, 3, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, places + 1, embed_dim), requires_grad=False)
        self.blocks = nn.ModuleList([transformer_block(embed_dim, num_heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.decoder_embed = nn.Linear(embed_dim, decoder_embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_embed_dim))
        self.decoder_pos_embed = nn.Parameter(
            torch.zeros(1, places + 1, decoder_embed_dim), requires_grad=False
        )
        self.decoder_blocks = nn.ModuleList(
            [transformer_block(decoder_embed_dim, decoder_num_heads) for _ in range(decoder_depth)]
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
        """Cuts `(B, 3, H, W)` into patches `(B, L, patch * patch * 3)`, colour last."""
        p, g = self.patch_size, self.grid
        x = images.reshape(len(images), 3, g, p, g, p)
        return x.permute(0, 2, 4, 3, 5, 1).reshape(len(x), g * g, p * p * 3)

    def unpatchify(self, patches: Tensor) -> Tensor:
        """Joins what `patchify` cut: `(B, 3, H, W)`."""
        p, g = self.patch_size, self.grid
        x = patches.reshape(len(patches), g, g, p, p, 3).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(len(patches), 3, g * p, g * p)

    def normalise(self, images: Tensor) -> Tensor:
        """Scales images in [0, 1] by ImageNet's mean and deviation, as the weights know them."""
        return (images - self.mean) / self.std

    def encode(self, images: Tensor, mask: Tensor) -> Tensor:
        """Encodes the visible patches.

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
        """Predicts patches `(B, L, patch * patch * 3)` from `encode`'s output."""
        x = self.decoder_embed(latent)
        full = self.mask_token.to(x.dtype).repeat(len(x), mask.shape[1], 1)
        full[~mask.bool()] = x[:, 1:].reshape(-1, x.shape[-1])
        x = torch.cat([x[:, :1], full], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            x = block(x)
        patches: Tensor = self.decoder_pred(self.decoder_norm(x))
        return patches[:, 1:]

    def encoder_names(self) -> frozenset[str]:
        """Names patch embedding, class token, blocks and last norm; the position table is fixed."""
        parts = ("patch_embed.", "cls_token", "blocks.", "norm.")
        return frozenset(name for name, _ in self.named_parameters() if name.startswith(parts))

    def heavy_blocks(self) -> list[nn.Module]:
        """Returns the transformer blocks of encoder and decoder."""
        return [*self.blocks, *self.decoder_blocks]

    def prepare(self, images: Tensor, masking: Masking) -> dict[str, Tensor]:
        """Returns `images`, normalised; their `noise_images` where asked for; and the `mask`."""
        task, source, noise = masking.task, masking.source, masking.noise
        mask = hole_on_grid(task, self.grid, len(images), source).to(images.device)
        drawn = {"images": self.normalise(images), "mask": mask}
        if noise is not False:
            drawn["noise_images"] = self.normalise(
                noise_images(images, noise, source, masking.world, grey=self.grey is not None)
            )
        return drawn

    def with_noise_images(self, inputs: Inputs, forget: Tensor, formulation: Formulation) -> Inputs:
        """Shows forget rows their noise image; paper and released code agree here."""
        rows = forget.view(-1, 1, 1, 1)
        return {**inputs, "images": torch.where(rows, inputs["noise_images"], inputs["images"])}

    def with_noise_labels(self, batch: BatchInputs) -> Inputs:
        """Draws forget rows' targets: Gaussian patches with the batch's mean and deviation."""
        images = batch.inputs["images"]
        target = self.patchify(images)
        if self.grey is None:
            mean, std = batch.world.mean_and_std(target)
            noise = mean + std * normal_like(target, batch.generator)
        else:
            # grey before it is normalised, for that treats the channels differently
            pixels = images * self.std + self.mean
            mean, std = batch.world.mean_and_std(pixels)
            drawn = mean + std * normal_images(pixels, batch.generator, grey=True)
            noise = self.patchify(self.normalise(drawn))
        labels = torch.where(batch.forget.view(-1, 1, 1), noise, target)
        return {**batch.inputs, "target": labels}

    def encoder_features(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """Returns class token and kept patches after the last norm, `(B, 1 + kept, D)`."""
        return (full(self.encode(inputs["images"], inputs["mask"])),)

    def output(self, inputs: Inputs) -> Tensor:
        """Predicts patches `(B, L, patch * patch * 3)`."""
        return full(self.decode(self.encode(inputs["images"], inputs["mask"]), inputs["mask"]))

    def output_places(self, inputs: Inputs) -> Tensor:
        """Returns `(B, L)`: 1 at removed patches."""
        return inputs["mask"].float()

    def task_loss(self, inputs: Inputs) -> RowLoss:
        """Returns the squared error of removed patches, not normalised (He et al., 2022)."""
        target = inputs["target"] if "target" in inputs else self.patchify(inputs["images"])
        places = self.output_places(inputs)
        error = (self.output(inputs) - target).square().mean(dim=-1)
        return RowLoss((error * places).sum(dim=1), places.sum(dim=1))

    def hole(self, rows: int, task: TaskConfig, source: RandomSource) -> Tensor:
        """Draws the removed pixels `(B, 1, H, W)` bool, whole patches."""
        return hole_in_pixels(task, self.grid, self.patch_size, rows, source)

    def complete(self, images: Tensor, task: TaskConfig, source: RandomSource) -> Tensor:
        """Completes by one pass; removed patches are pasted into the image."""
        hole = self.hole(len(images), task, source).to(images.device)
        mask = hole[:, 0, :: self.patch_size, :: self.patch_size].flatten(1)
        visible = self.normalise(images.masked_fill(hole, 0.0))
        completed = self.unpatchify(self.decode(self.encode(visible, mask), mask))
        completed = (completed * self.std + self.mean).clamp(0.0, 1.0)
        return torch.where(hole, completed, images)
