"""MAGE: masked tokens of a VQ-GAN, a ViT encoder over the kept ones and a ViT decoder over all.

Li et al., "MAGE: MAsked Generative Encoder to Unify Representation Learning and Image Synthesis"
(CVPR 2023). State-dict names and shapes are those of the published checkpoints, with the tokenizer
inside under `vqgan.`. Their training's dropout of 0.1 is left out: here every draw belongs to a
row.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from timm.layers import PatchEmbed
from torch import Tensor, nn
from torch.nn import functional

from trainables.config import Formulation, TaskConfig
from trainables.models.base import (
    BatchInputs,
    CompletionModel,
    Inputs,
    Masking,
    PretrainingStage,
    PublishedForm,
    RowLoss,
    full,
    noise_images,
)
from trainables.models.maskgit import decode
from trainables.models.masks import blend, hole_in_pixels, hole_on_grid, masked_share, rim
from trainables.models.vit import (
    IMAGENET_MEAN,
    TokenEmbedding,
    TokenHead,
    sincos_positions,
    transformer_block,
)
from trainables.models.vqgan import VQGAN
from trainables.utils.rng import RandomSource, normal_like, uniform_rows

_LABEL_SMOOTHING = 0.1
# of the embeddings that a pretraining begins with, and of what tells one code's from its like
_WORD_STD, _OWN_SHARE = 0.05, 0.3
_TOKENISED = 32  # images at once
_SHARE = 4  # of the pretraining's steps to one of the tokenizer's: that learns sooner
# the published table of positions has a row for the class token and 16 x 16 tokens, whatever the
# image's size
_LEAST_POSITIONS = 257


class MAGE(CompletionModel):
    """Masked generative encoder.

    Args:
        image_size: pixels; the grid is `image_size` over the tokenizer's reduction a side.
        embed_dim, depth, num_heads: of the encoder.
        decoder_embed_dim, decoder_depth, decoder_num_heads: of the decoder.
        tokenizer: options of `VQGAN`, over its own.
        decoding_steps: most rounds of a completion, where `sampling` leaves it open.
        temperature: of the Gumbel noise in choosing the tokens that a round keeps.
        unsmooth: draw a completion's codes without the share that label smoothing taught the model
            to give to every code alike; published completions are drawn with it.
    """

    # the released losses weigh features by 1 + s and 1 - s, s = +1 on retain and -1 on forget rows
    released_feature_weight = 2.0

    def __init__(
        self,
        *,
        image_size: int = 256,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        decoder_embed_dim: int = 768,
        decoder_depth: int = 8,
        decoder_num_heads: int = 16,
        tokenizer: Mapping[str, Any] | None = None,
        decoding_steps: int = 20,
        temperature: float = 6.0,
        unsmooth: bool = False,
    ) -> None:
        super().__init__()
        self.vqgan = VQGAN(**(tokenizer or {})).requires_grad_(False)
        self.codebook_size = self.vqgan.codebook_size
        self.patch_size = self.vqgan.reduction
        if image_size % self.patch_size:
            raise ValueError(
                f"image size {image_size} is not a multiple of the tokenizer's {self.patch_size}"
            )
        self.image_size = image_size
        self.grid = image_size // self.patch_size
        self.decoding_steps = decoding_steps
        self.temperature = temperature
        self.unsmooth = unsmooth
        self._add_transformer(embed_dim, depth, num_heads)
        self._add_decoder(embed_dim, decoder_embed_dim, decoder_depth, decoder_num_heads)
        self._initialise()

    @property
    def class_label(self) -> int:
        """Returns the id of the one class token."""
        return self.codebook_size + 76

    @property
    def mask_label(self) -> int:
        """Returns the id of a masked token, the last of the vocabulary."""
        return self.codebook_size + 1000

    def _add_transformer(self, dim: int, depth: int, heads: int) -> None:
        places = self.grid**2
        vocabulary = self.mask_label + 1
        self.token_emb = TokenEmbedding(vocabulary, dim, max(_LEAST_POSITIONS, places + 1))
        self.blocks = nn.ModuleList([transformer_block(dim, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        # parts of the published format that no output depends on
        self.patch_embed = PatchEmbed(self.image_size, self.patch_size, 3, dim).requires_grad_(
            False
        )
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim), requires_grad=False)
        self.pos_embed = nn.Parameter(torch.zeros(1, places + 1, dim), requires_grad=False)

    def _add_decoder(self, encoder_dim: int, dim: int, depth: int, heads: int) -> None:
        places = self.grid**2
        self.decoder_embed = nn.Linear(encoder_dim, dim)
        self.decoder_pos_embed_learned = nn.Parameter(torch.zeros(1, places + 1, dim))
        self.decoder_blocks = nn.ModuleList([transformer_block(dim, heads) for _ in range(depth)])
        self.decoder_norm = nn.LayerNorm(dim, eps=1e-6)
        self.mlm_layer = TokenHead(dim, encoder_dim, self.mask_label + 1)
        # as above: places are padded with the class token's output, and pixels come by the VQ-GAN
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim), requires_grad=False)
        self.decoder_pos_embed = nn.Parameter(torch.zeros(1, places + 1, dim), requires_grad=False)
        self.decoder_pred = nn.Linear(dim, self.patch_size**2 * 3).requires_grad_(False)

    def _initialise(self) -> None:
        for table in (self.pos_embed, self.decoder_pos_embed):
            table.data.copy_(sincos_positions(table.shape[-1], self.grid))
        words = (self.token_emb.word_embeddings.weight, self.token_emb.position_embeddings.weight)
        for parameter in (*words, self.cls_token, self.mask_token, self.decoder_pos_embed_learned):
            nn.init.normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def tokenize(self, images: Tensor) -> Tensor:
        """Turns images `(B, 3, H, W)` in [0, 1] into codes `(B, L)` int64 in raster order."""
        with torch.no_grad():
            # few at once: the tokenizer's activations are larger than all of the transformer's
            return torch.cat([self.vqgan.tokenize(part) for part in images.split(_TOKENISED)])

    def detokenize(self, tokens: Tensor) -> Tensor:
        """Turns codes `(B, L)` into images `(B, 3, H, W)`, near [0, 1] and not clamped."""
        with torch.no_grad():
            return self.vqgan.detokenize(tokens)

    def encode(self, tokens: Tensor, drop_mask: Tensor, all_mask: Tensor) -> Tensor:
        """Encodes the kept tokens.

        Args:
            tokens: `(B, L)` int64.
            drop_mask: `(B, L)` bool, True leaves the sequence; equally many in every row.
            all_mask: `(B, L)` bool, a superset: True is hidden by the mask token.

        Returns:
            `(B, 1 + kept, D)`: class token, then the kept places in raster order.
        """
        kept = ~drop_mask.bool()
        count = int(kept[0].sum())
        if not bool((kept.sum(dim=1) == count).all()):
            raise ValueError("every row of a batch must keep the same number of tokens")
        hidden = tokens.masked_fill(all_mask.bool(), self.mask_label)
        x = self.token_emb(_after_class(hidden, self.class_label))
        x = x[_after_class(kept, True)].reshape(len(x), 1 + count, -1)
        for block in self.blocks:
            x = block(x)
        latent: Tensor = self.norm(x)
        return latent

    def predict(self, latent: Tensor, drop_mask: Tensor, all_mask: Tensor) -> Tensor:
        """Computes logits `(B, 1 + L, vocabulary)` from `encode`'s output and its masks."""
        words = self.token_emb.word_embeddings.weight
        logits: Tensor = self.mlm_layer(self._decoded(latent, drop_mask, all_mask), words)
        return logits

    def _decoded(self, latent: Tensor, drop_mask: Tensor, all_mask: Tensor) -> Tensor:
        """Computes the decoder's output `(B, 1 + L, D')`."""
        x = self.decoder_embed(latent)
        padding = x[:, :1].expand(-1, 1 + drop_mask.shape[1], -1)
        full = padding.clone()
        full[_after_class(~drop_mask.bool(), True)] = x.reshape(-1, x.shape[-1])
        x = torch.where(_after_class(all_mask.bool(), False).unsqueeze(-1), padding, full)
        x = x + self.decoder_pos_embed_learned
        for block in self.decoder_blocks:
            x = block(x)
        decoded: Tensor = self.decoder_norm(x)
        return decoded

    def encoder_names(self) -> frozenset[str]:
        """Names positions, blocks and norms.

        The word embeddings stay: the decoder's head reads them, so that moving them, as the
        released code does, would move the decoder.
        """
        parts = ("token_emb.position_embeddings.", "token_emb.LayerNorm.", "blocks.", "norm.")
        return frozenset(name for name, _ in self.named_parameters() if name.startswith(parts))

    def pretraining_stages(self) -> tuple[PretrainingStage, ...]:
        """Trains the tokenizer by its reconstructions, then the transformer by masked tokens."""
        (transformer,) = super().pretraining_stages()
        moves = frozenset(name for name, _ in self.named_parameters() if name.startswith("vqgan."))

        def prepare(images: Tensor, masking: Masking) -> dict[str, Tensor]:
            return {"images": images}

        def loss(inputs: Inputs) -> RowLoss:
            rows = self.vqgan.loss(inputs["images"])
            return RowLoss(rows, torch.ones_like(rows))

        return (
            PretrainingStage(name="tokenizer", moves=moves, prepare=prepare, loss=loss),
            dataclasses.replace(transformer, begin=self._words_of_codes, share=_SHARE),
        )

    @torch.no_grad()
    def _words_of_codes(self, source: torch.Generator) -> None:
        """Starts the embeddings of codes that look alike alike: a turned picture of the codebook.

        A small transformer on few images would else have to find out which codes are of one
        colour; the published one has millions of images for it.
        """
        codes = self.vqgan.quantize.embedding.weight
        alike = (codes - codes.mean(dim=0)) / codes.std(dim=0)
        words = self.token_emb.word_embeddings.weight[: self.codebook_size]
        turn = torch.randn(codes.shape[1], words.shape[1], generator=source)
        own = torch.randn(words.shape, generator=source)
        words.copy_(_WORD_STD * (alike @ turn / codes.shape[1] ** 0.5 + _OWN_SHARE * own))

    def published_forms(self) -> tuple[PublishedForm, ...]:
        """Describes the whole, tokenizer and transformer apart; training losses are left out."""
        (whole,) = super().published_forms()
        tokenizer = frozenset(name for name in whole.names if name.startswith("vqgan."))
        return (
            whole,
            PublishedForm(
                what="the tokenizer alone",
                names=tokenizer,
                own_name=lambda name: None if name.startswith("loss.") else f"vqgan.{name}",
            ),
            PublishedForm(what="the transformer alone", names=whole.names - tokenizer),
        )

    def heavy_blocks(self) -> list[nn.Module]:
        """Returns the transformer blocks of encoder and decoder."""
        return [*self.blocks, *self.decoder_blocks]

    def prepare(self, images: Tensor, masking: Masking) -> dict[str, Tensor]:
        """Returns `tokens`, `noise_tokens` where asked for, and masks; takes tokens as images too.

        Random tokens: a share `task.ratio` leaves the sequence, and a share drawn for each row from
        a normal distribution cut to [ratio, 1] is masked. Any other task masks what its completion
        masks, and no token leaves.
        """
        task, source, noise = masking.task, masking.source, masking.noise
        rows, places = len(images), self.grid**2
        if task.kind == "random":
            order = uniform_rows(rows, (places,), source).argsort(dim=1).argsort(dim=1)
            dropped = min(max(round(task.ratio * places), 1), places - 1)
            share = masked_share(uniform_rows(rows, (1,), source), task.ratio)
            drop_mask = order < dropped
            all_mask = drop_mask | (order < (share * places).ceil())
        else:
            all_mask = self._grown(hole_on_grid(task, self.grid, rows, source))
            drop_mask = torch.zeros_like(all_mask)
        known = images.dtype == torch.int64
        tokens = images if known else self.tokenize(images)
        drawn = {
            "tokens": tokens,
            "drop_mask": drop_mask.to(images.device),
            "all_mask": all_mask.to(images.device),
        }
        if noise is not False:
            if known:
                raise ValueError("tokens hold no images to take noise from")
            chosen = torch.full((rows,), noise) if isinstance(noise, bool) else noise
            grey = self.grey is not None
            noisy = noise_images(images, chosen, source, masking.world, grey=grey)[chosen]
            drawn["noise_tokens"] = tokens.clone()
            drawn["noise_tokens"][chosen] = self.tokenize(noisy)
        return drawn

    def with_noise_images(self, inputs: Inputs, forget: Tensor, formulation: Formulation) -> Inputs:
        """Gives forget rows a noise image's tokens; paper and released code agree here."""
        tokens = torch.where(forget.view(-1, 1), inputs["noise_tokens"], inputs["tokens"])
        return {**inputs, "tokens": tokens}

    def with_noise_labels(self, batch: BatchInputs) -> Inputs:
        """Draws forget rows' targets: round(clamp(N(mean, std of the batch's ids), 0, C - 1))."""
        tokens = batch.inputs["tokens"]
        ids = tokens.float()
        mean, std = batch.world.mean_and_std(ids)
        noise = mean + std * normal_like(ids, batch.generator)
        codes = noise.clamp(0, self.codebook_size - 1).round().long()
        return {**batch.inputs, "target": torch.where(batch.forget.view(-1, 1), codes, tokens)}

    def encoder_features(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """Returns class token and kept places after the last norm, `(B, 1 + kept, D)`."""
        return (full(self.encode(inputs["tokens"], inputs["drop_mask"], inputs["all_mask"])),)

    def output(self, inputs: Inputs) -> Tensor:
        """Computes logits of the codes `(B, L, C)`."""
        masks = inputs["drop_mask"], inputs["all_mask"]
        decoded = self._decoded(self.encode(inputs["tokens"], *masks), *masks)
        # the rest of the vocabulary names no codes: a class, the mask and the published spare ids
        codes = self.token_emb.word_embeddings.weight[: self.codebook_size]
        return full(self.mlm_layer(decoded[:, 1:], codes))

    def output_places(self, inputs: Inputs) -> Tensor:
        """Returns `(B, L)`: 1 at masked tokens."""
        return inputs["all_mask"].float()

    def task_loss(self, inputs: Inputs) -> RowLoss:
        """Returns the cross-entropy of the masked tokens, labels smoothed by 0.1."""
        target = inputs["target"] if "target" in inputs else inputs["tokens"]
        places = self.output_places(inputs)
        logits = self.output(inputs).transpose(1, 2)
        error = functional.cross_entropy(
            logits, target, reduction="none", label_smoothing=_LABEL_SMOOTHING
        )
        return RowLoss((error * places).sum(dim=1), places.sum(dim=1))

    @property
    def rim(self) -> int:
        """Counts the pixels around a hole that the blending reaches."""
        return rim(self.image_size)

    def hole(self, rows: int, task: TaskConfig, source: RandomSource) -> Tensor:
        """Draws the removed pixels `(B, 1, H, W)` bool, whole tokens."""
        return hole_in_pixels(task, self.grid, self.patch_size, rows, source)

    def complete(self, images: Tensor, task: TaskConfig, source: RandomSource) -> Tensor:
        """Decodes the masked tokens in rounds and blends the image that they give into the hole.

        ImageNet's mean, or that of grey data, fills the hole before the image becomes tokens, and
        the tokens around it are masked too, so that no hidden pixel reaches a visible token.
        """
        hole = self.hole(len(images), task, source).to(images.device)
        fill = IMAGENET_MEAN if self.grey is None else (self.grey,) * 3
        mean = images.new_tensor(fill).view(1, 3, 1, 1)
        tokens = self.tokenize(torch.where(hole, mean, images))
        masked = self._grown(hole[:, 0, :: self.patch_size, :: self.patch_size].flatten(1))
        filled = decode(
            self._code_shares,
            tokens,
            masked,
            source,
            steps=self.sampling.steps or self.decoding_steps,
            temperature=self.temperature,
        )
        return blend(self.detokenize(filled).clamp(0.0, 1.0), images, hole)

    def _grown(self, mask: Tensor) -> Tensor:
        """Adds to a mask of tokens `(B, L)` bool the eight neighbours of each."""
        grid = mask.view(-1, 1, self.grid, self.grid).float()
        return functional.max_pool2d(grid, 3, stride=1, padding=1).flatten(1).bool()

    def _code_shares(self, tokens: Tensor, masked: Tensor) -> Tensor:
        """Computes the shares of the codes `(B, L, C)` to draw them by, no token dropped."""
        inputs = {"tokens": tokens, "drop_mask": masked & False, "all_mask": masked}
        shares = self.output(inputs).softmax(dim=-1)
        if self.unsmooth:
            shares = (shares - _LABEL_SMOOTHING / self.codebook_size).clamp_min(0.0)
        return shares


def _after_class(rows: Tensor, first: float) -> Tensor:
    """Puts the class token's value before `(B, L)`: `(B, 1 + L)`."""
    return torch.cat([torch.full_like(rows[:, :1], first), rows], dim=1)
