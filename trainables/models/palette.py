"""Palette: image completion by diffusion, a U-Net that sees the image with noise in its hole.

Saharia et al., "Palette: Image-to-Image Diffusion Models" (SIGGRAPH 2022). State-dict names and
shapes are those of the published files. Images are in [-1, 1] inside; only the hole is ever noised.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from trainables.config import Formulation, TaskConfig
from trainables.models import diffusion
from trainables.models.base import (
    BatchInputs,
    CompletionModel,
    Inputs,
    Masking,
    PublishedForm,
    RowLoss,
    full,
    normal_images,
)
from trainables.models.masks import hole_in_pixels
from trainables.models.unet import UNet
from trainables.utils.rng import RandomSource, uniform_rows

Phase = Literal["train", "test"]
Predicted = Literal["noise", "velocity"]

# schedules of the published model
_TRAIN = diffusion.Schedule(steps=2000, start=1e-6, end=0.01)
_TEST = diffusion.Schedule(steps=2000, start=1e-4, end=0.09)
_UNET_PARTS = ("cond_embed", "input_blocks", "middle_block", "output_blocks", "out")


class Palette(CompletionModel):
    """Diffusion on the noise level gamma, conditioned on the image with noise in its hole.

    Args:
        image_size: pixels, a multiple of the reduction to the U-Net's last resolution.
        inner_channels, channel_multipliers, attention_rates, head_channels, res_blocks,
            norm_groups: of the `UNet`.
        predicts: what the `UNet` gives and is trained for. `noise`, as published. `velocity`,
            sqrt(gamma) noise - sqrt(1 - gamma) y_0 (Salimans and Ho, 2022, section 4): where next
            to nothing of the image is left, a hole's colour is decided, and there the image that
            follows from a predicted noise is that noise's error many times over.
        train_schedule, test_schedule: betas of training and of sampling.
        sampler: `ancestral`, every step of the test schedule with new noise (Ho et al., 2020), or
            `ddim`, some of them with none (Song et al., 2021); where `sampling` leaves it open.
        steps: of `ddim`, where `sampling` leaves it open.
        patch_size: pixels a side of what the task `random` removes.
    """

    gammas: Tensor

    def __init__(
        self,
        *,
        image_size: int = 256,
        inner_channels: int = 64,
        channel_multipliers: Sequence[int] = (1, 2, 4, 8),
        attention_rates: Sequence[int] = (16,),
        head_channels: int = 32,
        res_blocks: int = 2,
        norm_groups: int = 32,
        predicts: Predicted = "noise",
        train_schedule: diffusion.Schedule = _TRAIN,
        test_schedule: diffusion.Schedule = _TEST,
        sampler: Literal["ancestral", "ddim"] = "ancestral",
        steps: int = 20,
        patch_size: int = 16,
    ) -> None:
        super().__init__()
        reduction = 2 ** (len(channel_multipliers) - 1)
        if image_size % reduction:
            raise ValueError(f"image size {image_size} is not a multiple of {reduction}")
        self.image_size = image_size
        self.patch_size = patch_size
        if predicts not in get_args(Predicted):
            raise ValueError(f"predicts {predicts}: it is one of {', '.join(get_args(Predicted))}")
        self.predicts = predicts
        if predicts == "velocity":
            # the U-Net's names and shapes are those of noise: by this a file of the one is refused
            # where the other is wanted
            self.register_buffer("predicts_velocity", torch.ones(()))
        self.sampler = sampler
        self.steps = steps
        for name, value in diffusion.schedule_buffers(train_schedule).items():
            self.register_buffer(name, value)
        for name, value in diffusion.schedule_buffers(test_schedule).items():
            self.register_buffer(f"test_{name}", value, persistent=False)
        self.denoise_fn = UNet(
            in_channels=6,
            out_channels=3,
            inner_channels=inner_channels,
            channel_multipliers=channel_multipliers,
            attention_rates=attention_rates,
            head_channels=head_channels,
            res_blocks=res_blocks,
            norm_groups=norm_groups,
        )

    def features(self, condition: Tensor, y_t: Tensor, gamma: Tensor) -> list[Tensor]:
        """Returns the outputs of every input block and of the middle block; see `denoise`."""
        return self.denoise_fn.features(torch.cat([condition, y_t], dim=1), gamma.reshape(-1))

    def denoise(self, condition: Tensor, y_t: Tensor, gamma: Tensor) -> Tensor:
        """Predicts the noise `(B, 3, H, W)`.

        Args:
            condition: `(B, 3, H, W)` in [-1, 1], the image with Gaussian noise in its hole.
            y_t: `(B, 3, H, W)`, the noised image in the hole, the image elsewhere.
            gamma: `(B,)`, the noise level of `y_t`: sqrt(gamma) y_0 + sqrt(1 - gamma) noise.
        """
        predicted = self._predict(condition, y_t, gamma)
        if self.predicts == "noise":
            return predicted
        level = gamma.reshape(-1, 1, 1, 1)
        return (1.0 - level).sqrt() * y_t + level.sqrt() * predicted

    def _predict(self, condition: Tensor, y_t: Tensor, gamma: Tensor) -> Tensor:
        predicted: Tensor = self.denoise_fn(torch.cat([condition, y_t], dim=1), gamma.reshape(-1))
        return predicted

    def _predict_image(self, condition: Tensor, y_t: Tensor, step: Tensor, prefix: str) -> Tensor:
        gamma = self.get_buffer(f"{prefix}gammas")[step]
        predicted = self._predict(condition, y_t, gamma)
        if self.predicts == "velocity":
            level = gamma.view(-1, 1, 1, 1)
            return (level.sqrt() * y_t - (1.0 - level).sqrt() * predicted).clamp(-1.0, 1.0)
        recip = diffusion.at_step(self.get_buffer(f"{prefix}sqrt_recip_gammas"), step)
        recipm1 = diffusion.at_step(self.get_buffer(f"{prefix}sqrt_recipm1_gammas"), step)
        return (recip * y_t - recipm1 * predicted).clamp(-1.0, 1.0)

    def posterior(
        self, condition: Tensor, y_t: Tensor, step: Tensor, schedule: Phase = "train"
    ) -> tuple[Tensor, Tensor]:
        """Computes the Gaussian of the step before, the predicted image clamped to [-1, 1].

        Args:
            condition: as in `denoise`.
            y_t: as in `denoise`.
            step: `(B,)` int64, from 0.
            schedule: `train` or `test`.

        Returns:
            Mean `(B, 3, H, W)` and logarithm of the variance `(B, 1, 1, 1)`.
        """
        prefix = "" if schedule == "train" else "test_"
        image = self._predict_image(condition, y_t, step, prefix)
        first = diffusion.at_step(self.get_buffer(f"{prefix}posterior_mean_coef1"), step)
        second = diffusion.at_step(self.get_buffer(f"{prefix}posterior_mean_coef2"), step)
        clipped = self.get_buffer(f"{prefix}posterior_log_variance_clipped")
        return first * image + second * y_t, diffusion.at_step(clipped, step)

    def _normal(self, like: Tensor, source: RandomSource) -> Tensor:
        """Draws standard normal values; diffusion of grey images stays among grey images."""
        return normal_images(like, source, grey=self.grey is not None)

    def encoder_names(self) -> frozenset[str]:
        """Names the input blocks and the middle block.

        The embedding of the noise level belongs to both halves: it stays, so that the decoder does.
        """
        parts = ("denoise_fn.input_blocks.", "denoise_fn.middle_block.")
        return frozenset(name for name, _ in self.named_parameters() if name.startswith(parts))

    def published_forms(self) -> tuple[PublishedForm, ...]:
        """Describes the whole without its schedule, whose length is that of a file's phase."""
        (whole,) = super().published_forms()
        names = whole.names.difference(diffusion.SCHEDULE_BUFFERS)
        return (PublishedForm(what=whole.what, names=names, own_name=_own_name),)

    def heavy_blocks(self) -> list[nn.Module]:
        """Returns the blocks of the U-Net on the way down, in the middle and on the way up."""
        unet = self.denoise_fn
        return [*unet.input_blocks, unet.middle_block, *unet.output_blocks]

    def prepare(self, images: Tensor, masking: Masking) -> dict[str, Tensor]:
        """Returns condition, target, two noised images, noise level, noise and mask.

        `condition` has Gaussian noise in its hole; `target` is the image; `y_noisy` is noised
        everywhere by `noise` at `gamma`, drawn between two neighbouring steps of the train
        schedule; `y_noisy_forget` is nothing but that noise; `mask` `(B, 1, H, W)` is 1 in the
        hole.
        """
        # its noise images are the noise of its own loss: there is none to leave out
        source = masking.source
        hole = self.hole(len(images), masking.task, source).to(images.device)
        target = 2.0 * images - 1.0
        drawn = uniform_rows(len(images), (2,), source).to(images.device)
        step = 1 + (drawn[:, 0] * (len(self.gammas) - 1)).long()
        gamma = self.gammas[step - 1].lerp(self.gammas[step], drawn[:, 1])
        condition = torch.where(hole, self._normal(target, source), target)
        added = self._normal(target, source)
        return {
            "condition": condition,
            "target": target,
            "y_noisy": diffusion.noised(target, added, gamma),
            "y_noisy_forget": added,
            "gamma": gamma,
            "noise": added,
            "mask": hole.to(images.dtype),
        }

    def with_noise_images(self, inputs: Inputs, forget: Tensor, formulation: Formulation) -> Inputs:
        """Shows forget rows noise, `y_noisy_forget`.

        `paper`: as the whole image, so in condition and y_t, inside and outside of the hole.
        `released`: in the hole of y_t alone; condition and known pixels stay the image's.
        """
        rows = forget.view(-1, 1, 1, 1)
        names = ("condition", "target", "y_noisy") if formulation == "paper" else ("y_noisy",)
        noise = inputs["y_noisy_forget"]
        return {**inputs, **{name: torch.where(rows, noise, inputs[name]) for name in names}}

    def with_noise_labels(self, batch: BatchInputs) -> Inputs:
        """Trains forget rows towards noise in the hole.

        `paper`: the image to restore is standard normal, noised like any other. `released`: y_t is
        `y_noisy_forget`, and that is also the noise to predict.
        """
        inputs, rows = batch.inputs, batch.forget.view(-1, 1, 1, 1)
        if batch.formulation == "released":
            changes = {"y_noisy": inputs["y_noisy_forget"], "noise": inputs["y_noisy_forget"]}
        else:
            image = self._normal(inputs["target"], batch.generator)
            # known pixels stay the image's
            target = torch.where(inputs["mask"].bool(), image, inputs["target"])
            y_noisy = diffusion.noised(image, inputs["noise"], inputs["gamma"])
            changes = {"target": target, "y_noisy": y_noisy}
        return {
            **inputs,
            **{name: torch.where(rows, new, inputs[name]) for name, new in changes.items()},
        }

    def encoder_features(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """Returns the outputs of every input block and of the middle block."""
        found = self.features(inputs["condition"], _y_t(inputs), inputs["gamma"])
        return tuple(map(full, found))

    def output(self, inputs: Inputs) -> Tensor:
        """Returns what the `UNet` predicts, `(B, H * W, 3)`.

        Retain Label trains a forget row towards a retain row's: towards that one's noise, or
        towards its velocity, which holds its image too.
        """
        predicted = full(self._predict(inputs["condition"], _y_t(inputs), inputs["gamma"]))
        return predicted.flatten(2).transpose(1, 2)

    def output_places(self, inputs: Inputs) -> Tensor:
        """Returns `(B, H * W)`: 1 in the hole."""
        return inputs["mask"].to(inputs["noise"].dtype).flatten(1)

    def released_places(self, inputs: Inputs) -> Tensor:
        """Returns ones `(B, H * W)`: the released means are over the whole image."""
        return torch.ones_like(self.output_places(inputs))

    def task_loss(self, inputs: Inputs) -> RowLoss:
        """Returns the squared error of the noise in the hole (Saharia et al., 2022, equation 1).

        Of the velocity where that is predicted: the same error over gamma. `paper` means are over
        the hole, `released` means over all pixels of the batch.
        """
        noise = full(self.denoise(inputs["condition"], _y_t(inputs), inputs["gamma"]))
        places = self.output_places(inputs)
        error = (noise - inputs["noise"]).square().mean(dim=1).flatten(1) * places
        if self.predicts == "velocity":
            error = error / inputs["gamma"].view(-1, 1)
        return RowLoss(error.sum(dim=1), places.sum(dim=1), self.released_places(inputs).sum(dim=1))

    def hole(self, rows: int, task: TaskConfig, source: RandomSource) -> Tensor:
        """Draws the removed pixels `(B, 1, H, W)` bool; `random` patches are cut at the edges."""
        side = self.patch_size if task.kind == "random" else 1
        grid = math.ceil(self.image_size / side)
        pixels = hole_in_pixels(task, grid, side, rows, source)
        return pixels[:, :, : self.image_size, : self.image_size]

    def complete(self, images: Tensor, task: TaskConfig, source: RandomSource) -> Tensor:
        """Samples the hole step by step; the known pixels are put back after every step."""
        hole = self.hole(len(images), task, source).to(images.device)
        known = 2.0 * images - 1.0
        condition = torch.where(hole, self._normal(known, source), known)
        y_t = torch.where(hole, self._normal(known, source), known)
        sampler, steps = self.sampling.sampler, self.sampling.steps
        if sampler == "default":
            sampler = self.sampler
        total = len(self.get_buffer("test_gammas"))
        if sampler == "ancestral":
            for step in reversed(range(total)):
                y_t = torch.where(hole, self._ancestral(condition, y_t, step, source), known)
        else:
            chosen = diffusion.spaced_steps(total, steps or self.steps)
            for step, after in zip(chosen, [*chosen[1:], None], strict=True):
                y_t = torch.where(hole, self._ddim(condition, y_t, step, after), known)
        return torch.where(hole, (0.5 * y_t + 0.5).clamp(0.0, 1.0), images)

    def _ancestral(self, condition: Tensor, y_t: Tensor, step: int, source: RandomSource) -> Tensor:
        """Draws from `posterior` of the test schedule; returns its mean at the last step."""
        steps = torch.full((len(y_t),), step, device=y_t.device)
        mean, log_variance = self.posterior(condition, y_t, steps, schedule="test")
        if not step:
            return mean
        return mean + (0.5 * log_variance).exp() * self._normal(mean, source)

    def _ddim(self, condition: Tensor, y_t: Tensor, step: int, after: int | None) -> Tensor:
        """Steps to `after` without new noise (Song et al., 2021, equation 12, sigma = 0)."""
        steps = torch.full((len(y_t),), step, device=y_t.device)
        image = self._predict_image(condition, y_t, steps, "test_")
        if after is None:
            return image
        gammas = self.get_buffer("test_gammas")
        # the noise that goes with the clamped image
        noise = (y_t - gammas[step].sqrt() * image) / (1.0 - gammas[step]).sqrt()
        return gammas[after].sqrt() * image + (1.0 - gammas[after]).sqrt() * noise


def _y_t(inputs: Inputs) -> Tensor:
    """Returns what the U-Net sees beside the condition: noised in the hole, known elsewhere."""
    return torch.where(inputs["mask"].bool(), inputs["y_noisy"], inputs["target"])


def _own_name(published: str) -> str | None:
    """Turns a name of a published file into the model's own; foreign ones stay, to be refused.

    `module.` of data parallelism goes. The schedule is left out, and so is the teacher that
    unlearning keeps inside: any other module with a U-Net's parts or a schedule.
    """
    name = published.removeprefix("module.")
    owner, _, rest = name.partition(".")
    part = rest.removeprefix("denoise_fn.").partition(".")[0]
    copied = owner != "denoise_fn" and part in (*_UNET_PARTS, *diffusion.SCHEDULE_BUFFERS)
    return None if copied or name in diffusion.SCHEDULE_BUFFERS else name
