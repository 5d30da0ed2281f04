"""VQ-GAN: the tokenizer that turns an image into a grid of codes and back.

Esser et al., "Taming Transformers for High-Resolution Image Synthesis" (CVPR 2021), in the form of
Chang et al., "MaskGIT" (CVPR 2022), that MAGE uses: average pooling on the way down, convolutions
without bias, no attention. State-dict names and shapes are those of the published tokenizer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_COMMITMENT = 0.25
_ENTROPY = 0.1
_ENTROPY_TEMPERATURE = 0.01


class _PlaceNorm(nn.LayerNorm):
    """Normalises the channels of each place by themselves: `(B, C, h, w)` -> the same."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalises each place."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def _norm(channels: int, groups: int | None) -> nn.Module:
    if groups is None:
        return _PlaceNorm(channels, eps=1e-6)
    return nn.GroupNorm(groups, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut; `(B, in, h, w)` -> `(B, out, h, w)`.

    Where the number of channels changes, the shortcut is a 1 x 1 convolution of the block's output,
    not of its input: the published weights were trained so.
    """

    def __init__(self, inside: int, outside: int, groups: int | None) -> None:
        super().__init__()
        self.norm1 = _norm(inside, groups)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
        self.norm2 = _norm(outside, groups)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        if inside != outside:
            self.nin_shortcut = nn.Conv2d(outside, outside, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Computes the block's output."""
        h = self.conv1(functional.silu(self.norm1(x)))
        h = self.conv2(functional.silu(self.norm2(h)))
        added: Tensor = h + (self.nin_shortcut(h) if hasattr(self, "nin_shortcut") else x)
        return added


class _Middle(nn.Module):
    def __init__(self, channels: int, groups: int | None) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels, groups)
        self.block_2 = ResidualBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        deeper: Tensor = self.block_2(self.block_1(x))
        return deeper


class _Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        larger: Tensor = self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return larger


class _Level(nn.Module):
    """The blocks of one resolution, and on the way up the step to the next."""

    def __init__(
        self, inside: int, outside: int, blocks: int, groups: int | None, grows: bool
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(
            ResidualBlock(outside if i else inside, outside, groups) for i in range(blocks)
        )
        if grows:
            self.upsample = _Upsample(outside)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        if hasattr(self, "upsample"):
            x = self.upsample(x)
        return x


class Encoder(nn.Module):
    """Images `(B, 3, H, W)` -> latents `(B, latent, H / r, W / r)`."""

    def __init__(self, widths: Sequence[int], blocks: int, latent: int, groups: int | None) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.down = nn.ModuleList(
            _Level(before, width, blocks, groups, grows=False)
            for before, width in zip((widths[0], *widths[:-1]), widths, strict=True)
        )
        self.mid = _Middle(widths[-1], groups)
        self.norm_out = _norm(widths[-1], groups)
        self.conv_out = nn.Conv2d(widths[-1], latent, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Computes the latents, before quantisation."""
        x = self.conv_in(images)
        for i, level in enumerate(self.down):
            x = level(functional.avg_pool2d(x, 2) if i else x)
        latents: Tensor = self.conv_out(functional.silu(self.norm_out(self.mid(x))))
        return latents


class Decoder(nn.Module):
    """Quantised latents `(B, latent, H / r, W / r)` -> images `(B, 3, H, W)`."""

    def __init__(self, widths: Sequence[int], blocks: int, latent: int, groups: int | None) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(latent, widths[-1], 3, padding=1)
        self.mid = _Middle(widths[-1], groups)
        # level 0 is the finest, and the last to run
        self.up = nn.ModuleList(
            _Level(above, width, blocks, groups, grows=i > 0)
            for i, (above, width) in enumerate(zip((*widths[1:], widths[-1]), widths, strict=True))
        )
        self.norm_out = _norm(widths[0], groups)
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """Computes the images, not clamped."""
        x = self.mid(self.conv_in(latents))
        for level in reversed(self.up):
            x = level(x)
        images: Tensor = self.conv_out(functional.silu(self.norm_out(x)))
        return images


class _Quantiser(nn.Module):
    """The codebook, `embedding.weight` `(C, latent)`."""

    def __init__(self, codes: int, latent: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(codes, latent)
        # about as wide as a fresh encoder's latents, so that from the start all codes are near some
        nn.init.normal_(self.embedding.weight, std=0.3)

    def distances(self, latents: Tensor) -> Tensor:
        """Computes squared distances `(N, C)` of latents `(N, latent)` to every code."""
        codes = self.embedding.weight
        squares = latents.square().sum(dim=1, keepdim=True) + codes.square().sum(dim=1)
        return squares - 2.0 * latents @ codes.T


class VQGAN(nn.Module):
    """The tokenizer.

    Args:
        channels: width of the finest level.
        channel_multipliers: of each level, finest first; every further level halves the side.
        res_blocks: blocks a level.
        latent_channels: width of a code.
        codebook_size: codes.
        groups: of every group normalisation, over an image's places too, as published. None
            normalises the channels of each place by themselves, so that what a code looks like
            depends on the codes around it, and not on the rest of the image.
        lone_weight: of a training term by which a code that stands alone has to look like what it
            stands for; without it a code's colour is told by the codes around it.
    """

    def __init__(
        self,
        *,
        channels: int = 128,
        channel_multipliers: Sequence[int] = (1, 1, 2, 2, 4),
        res_blocks: int = 2,
        latent_channels: int = 256,
        codebook_size: int = 1024,
        groups: int | None = 32,
        lone_weight: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [channels * each for each in channel_multipliers]
        self.codebook_size = codebook_size
        self.reduction = 2 ** (len(widths) - 1)
        self.lone_weight = lone_weight
        self.encoder = Encoder(widths, res_blocks, latent_channels, groups)
        self.decoder = Decoder(widths, res_blocks, latent_channels, groups)
        self.quantize = _Quantiser(codebook_size, latent_channels)

    def tokenize(self, images: Tensor) -> Tensor:
        """Turns images `(B, 3, H, W)` in [0, 1] into the nearest codes `(B, L)`, raster order."""
        latents = self.encoder(images)
        flat = latents.movedim(1, -1).flatten(0, 2)
        return self.quantize.distances(flat).argmin(dim=1).view(len(images), -1)

    def detokenize(self, tokens: Tensor) -> Tensor:
        """Turns codes `(B, L)` of a square grid into images `(B, 3, H, W)`, near [0, 1]."""
        grid = round(tokens.shape[1] ** 0.5)
        latents = self.quantize.embedding(tokens).movedim(-1, 1)
        images: Tensor = self.decoder(latents.unflatten(2, (grid, grid)))
        return images

    def loss(self, images: Tensor) -> Tensor:
        """Computes the loss `(B,)` of each image: reconstruction, codebook, commitment, entropy.

        |x - x'| + |x - x'|^2 + ||sg(z) - e||^2 + 0.25 ||z - sg(e)||^2 + 0.1 (H(p|z) - H(p)), the
        last of MaskGIT, over the softmax of minus the distances by a temperature of 0.01 times
        their mean: it keeps every code in use. No discriminator and no perceptual loss. To it comes
        `lone_weight` times the first two terms of single patches, each decoded from its own code.

        Args:
            images: `(B, 3, H, W)` in [0, 1].
        """
        latents = self.encoder(images)
        flat = latents.movedim(1, -1).flatten(0, 2)
        distances = self.quantize.distances(flat)
        chosen = self.quantize.embedding(distances.argmin(dim=1))
        codes = chosen.view(len(images), *latents.shape[2:], -1).movedim(-1, 1)
        # the gradient passes the quantisation as if it were the identity
        passed = latents + (codes - latents).detach()
        error = self.decoder(passed) - images
        terms = (
            error.abs() + error.square(),
            (codes - latents.detach()).square(),
            _COMMITMENT * (latents - codes.detach()).square(),
        )
        rows = torch.stack([term.flatten(1).mean(dim=1) for term in terms]).sum(dim=0)
        if self.lone_weight:
            rows = rows + self.lone_weight * self._lone_error(passed, images)
        return rows + _ENTROPY * _entropy_gap(distances)

    def _lone_error(self, latents: Tensor, images: Tensor) -> Tensor:
        """Returns |p - p'| + |p - p'|^2 `(B,)` of patches that are decoded from their own codes.

        A quarter of the places is asked, every other one of every other row.
        """
        asked = latents[:, :, ::2, ::2].movedim(1, -1)
        rebuilt: Tensor = self.decoder(asked.flatten(0, 2)[..., None, None])
        side = self.reduction
        patches = images.unfold(2, side, 2 * side).unfold(3, side, 2 * side).movedim(1, 3)
        error: Tensor = rebuilt.view(patches.shape) - patches
        return (error.abs() + error.square()).flatten(1).mean(dim=1)


def _entropy_gap(distances: Tensor) -> Tensor:
    """Returns the mean entropy of each latent's assignment minus that of their mean, 0-d."""
    scale = _ENTROPY_TEMPERATURE * distances.detach().mean()
    logs = functional.log_softmax(-distances / scale, dim=1)
    shares = logs.exp()
    mean = shares.mean(dim=0)
    of_each = -(shares * logs).sum(dim=1).mean()
    return of_each + (mean * (mean + 1e-9).log()).sum()
