"""The U-Net of guided diffusion, conditioned on a noise level: what Palette denoises with.

Dhariwal and Nichol, "Diffusion Models Beat GANs on Image Synthesis" (NeurIPS 2021): residual blocks
with scale and shift from the embedded noise level, which also halve and double the resolution, and
attention at chosen resolutions. State-dict names and shapes are those of the published Palette
files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_MAX_PERIOD = 10_000.0


def embed_noise_level(gamma: Tensor, dim: int) -> Tensor:
    """Returns cosines, then sines, of noise levels `(B,)` at `dim // 2` frequencies: `(B, dim)`."""
    half = dim // 2
    places = torch.arange(half, dtype=torch.float32, device=gamma.device)
    angles = gamma.float()[:, None] * torch.exp(-math.log(_MAX_PERIOD) * places / half)[None]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def _zeroed(layer: nn.Conv1d | nn.Conv2d) -> nn.Module:
    """Zeroes a layer, so that its residual branch starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResBlock(nn.Module):
    """Two convolutions with a skip, scaled and shifted by the noise level.

    Args:
        channels, out_channels: of input and output.
        embed_dim: width of the embedded noise level.
        groups: of the normalisations.
        resample: -1 halves the resolution between the two normalisations, +1 doubles it, 0 keeps
            it.
    """

    def __init__(
        self, channels: int, out_channels: int, embed_dim: int, groups: int, resample: int = 0
    ) -> None:
        super().__init__()
        self.resample = resample
        self.in_layers = nn.Sequential(
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, out_channels, 3, padding=1),
        )
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embed_dim, 2 * out_channels))
        # the published files number a dropout of rate 0 as the third of these
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, out_channels),
            nn.SiLU(),
            nn.Identity(),
            _zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
        )
        self.skip_connection = (
            nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        )

    def _resampled(self, x: Tensor) -> Tensor:
        if self.resample < 0:
            return functional.avg_pool2d(x, 2)
        if self.resample > 0:
            return functional.interpolate(x, scale_factor=2.0, mode="nearest")
        return x

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Computes `(B, out_channels, H', W')` from `x` `(B, C, H, W)` and `embedding` `(B, D)`."""
        norm, activation, convolution = self.in_layers
        hidden = convolution(self._resampled(activation(norm(x))))
        scale, shift = self.emb_layers(embedding)[:, :, None, None].chunk(2, dim=1)
        norm, *rest = self.out_layers
        hidden = norm(hidden) * (1.0 + scale) + shift
        for layer in rest:
            hidden = layer(hidden)
        whole: Tensor = self.skip_connection(self._resampled(x)) + hidden
        return whole


class AttentionBlock(nn.Module):
    """Self-attention over the places of a feature map, with a skip.

    Args:
        channels: of input and output.
        head_channels: of one head.
        groups: of the normalisation.
    """

    def __init__(self, channels: int, head_channels: int, groups: int) -> None:
        super().__init__()
        if channels % head_channels:
            raise ValueError(f"{channels} channels are not a multiple of {head_channels} a head")
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = _zeroed(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Attends over the places of `x` `(B, C, H, W)`."""
        rows, channels = x.shape[:2]
        flat = x.flatten(2)
        # the published weights hold query, key and value of a head together
        parts = self.qkv(self.norm(flat)).view(rows, self.heads, 3, -1, flat.shape[2])
        query, key, value = parts.transpose(3, 4).unbind(dim=2)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        joined = mixed.transpose(2, 3).reshape(rows, channels, -1)
        whole: Tensor = (flat + self.proj_out(joined)).view_as(x)
        return whole


class Block(nn.ModuleList):
    """Layers in a row; residual blocks among them also get the embedded noise level."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(layers)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Computes `(B, out_channels, H', W')` from `x` `(B, C, H, W)` and `embedding` `(B, D)`."""
        for layer in self:
            x = layer(x, embedding) if isinstance(layer, ResBlock) else layer(x)
        return x


class UNet(nn.Module):
    """A U-Net over images, conditioned on a noise level.

    Args:
        in_channels, out_channels: of the images.
        inner_channels: of the first resolution.
        channel_multipliers: channels of each resolution over those of the first, each half of the
            one before.
        attention_rates: reductions (1, 2, 4, ...) whose residual blocks are followed by attention;
            the middle always is.
        head_channels: of one attention head.
        res_blocks: residual blocks a resolution.
        norm_groups: of the normalisations; the published files have 32.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        inner_channels: int,
        channel_multipliers: Sequence[int],
        attention_rates: Sequence[int],
        head_channels: int,
        res_blocks: int,
        norm_groups: int,
    ) -> None:
        super().__init__()
        self.inner_channels = inner_channels
        self._attention_rates = frozenset(attention_rates)
        self._head_channels = head_channels
        self._groups = norm_groups
        self._embed_dim = 4 * inner_channels
        self.cond_embed = nn.Sequential(
            nn.Linear(inner_channels, self._embed_dim),
            nn.SiLU(),
            nn.Linear(self._embed_dim, self._embed_dim),
        )
        widths = [multiplier * inner_channels for multiplier in channel_multipliers]
        self.input_blocks = nn.ModuleList()
        skips = self._build_down(in_channels, widths, res_blocks)
        self.middle_block = Block(
            self._residual(widths[-1], widths[-1]),
            AttentionBlock(widths[-1], head_channels, norm_groups),
            self._residual(widths[-1], widths[-1]),
        )
        self.output_blocks = nn.ModuleList()
        self._build_up(widths, res_blocks, skips)
        self.out = nn.Sequential(
            nn.GroupNorm(norm_groups, widths[0]),
            nn.SiLU(),
            _zeroed(nn.Conv2d(widths[0], out_channels, 3, padding=1)),
        )

    def _residual(self, channels: int, out_channels: int, resample: int = 0) -> ResBlock:
        return ResBlock(channels, out_channels, self._embed_dim, self._groups, resample)

    def _attended(self, level: int, channels: int, out_channels: int) -> list[nn.Module]:
        layers: list[nn.Module] = [self._residual(channels, out_channels)]
        if 2**level in self._attention_rates:
            layers.append(AttentionBlock(out_channels, self._head_channels, self._groups))
        return layers

    def _build_down(self, in_channels: int, widths: Sequence[int], res_blocks: int) -> list[int]:
        """Fills `input_blocks`; returns the channels of each one's output."""
        channels = widths[0]
        self.input_blocks.append(Block(nn.Conv2d(in_channels, channels, 3, padding=1)))
        skips = [channels]
        for level, width in enumerate(widths):
            for _ in range(res_blocks):
                self.input_blocks.append(Block(*self._attended(level, channels, width)))
                channels = width
                skips.append(channels)
            if level < len(widths) - 1:
                self.input_blocks.append(Block(self._residual(channels, channels, resample=-1)))
                skips.append(channels)
        return skips

    def _build_up(self, widths: Sequence[int], res_blocks: int, skips: list[int]) -> None:
        """Fills `output_blocks`, each of which takes the output of the last input block left."""
        channels = widths[-1]
        for level, width in reversed(list(enumerate(widths))):
            for index in range(res_blocks + 1):
                layers = self._attended(level, channels + skips.pop(), width)
                channels = width
                if level and index == res_blocks:
                    layers.append(self._residual(channels, channels, resample=1))
                self.output_blocks.append(Block(*layers))

    def features(self, x: Tensor, gamma: Tensor) -> list[Tensor]:
        """Returns the outputs of every input block, then of the middle block.

        Args:
            x: `(B, C, H, W)`.
            gamma: `(B,)`, the noise level.
        """
        return self._encode(x, self._embed(gamma))

    def _embed(self, gamma: Tensor) -> Tensor:
        embedding: Tensor = self.cond_embed(embed_noise_level(gamma, self.inner_channels))
        return embedding

    def _encode(self, x: Tensor, embedding: Tensor) -> list[Tensor]:
        found = []
        for block in self.input_blocks:
            x = block(x, embedding)
            found.append(x)
        return [*found, self.middle_block(x, embedding)]

    def forward(self, x: Tensor, gamma: Tensor) -> Tensor:
        """Predicts `(B, out_channels, H, W)`; arguments as in `features`."""
        embedding = self._embed(gamma)
        *skips, hidden = self._encode(x, embedding)
        for block in self.output_blocks:
            hidden = block(torch.cat([hidden, skips.pop()], dim=1), embedding)
        predicted: Tensor = self.out(hidden)
        return predicted
