"""How models are trained: pretraining and unlearning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainables.config.data import task_faults
from trainables.config.validation import Checked

PrecisionName = Literal["auto", "float32", "bf16"]
ScheduleName = Literal["cosine", "constant"]


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig(Checked):
    """AdamW with warm-up and a schedule, clipped; none of the weight decay on 1-d parameters.

    Attributes:
        steps: optimiser steps in total.
        lr: peak learning rate, as given (not scaled by the batch).
        weight_decay, beta1, beta2, clip: AdamW's, and the largest gradient norm.
        warmup: share of the steps of linear warm-up, in [0, 1].
        schedule: of the rate after it: half a `cosine` to zero, or `constant`.
    """

    steps: int = 100
    lr: float = 1e-3
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 3.0
    warmup: float = 0.1
    schedule: ScheduleName = "cosine"

    def _faults(self) -> list[tuple[bool, str]]:
        return [
            *self._below(1, "steps"),
            (not 0.0 < self.lr < 10.0, f"lr={self.lr} is outside (0, 10)"),
            (not 0.0 <= self.warmup <= 1.0, f"warmup={self.warmup} is outside [0, 1]"),
            (self.weight_decay < 0.0, f"weight_decay={self.weight_decay} is negative"),
            (self.clip <= 0.0, f"clip={self.clip} is not above 0"),
            (not 0.0 <= self.beta1 < 1.0, f"beta1={self.beta1} is outside [0, 1)"),
            (not 0.0 <= self.beta2 < 1.0, f"beta2={self.beta2} is outside [0, 1)"),
        ]


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(OptimiserConfig):
    """Training of the original model on the training images of all three roles.

    Attributes:
        batch_size: images a step.
        seed: initial weights, order of images, masks.
        threads: torch threads; a fixed number, since it can change the last bit of a sum.
        tasks: what it learns to complete, `kind:ratio` each, in turn step by step; empty for the
            model's own.
        augment: show every image turned, mirrored and toned, anew each time.
        shipped: take the weights that come with the product where it has some for this model and
            these data, and the other options here are at their defaults.
    """

    steps: int = 900
    lr: float = 3e-3
    batch_size: int = 64
    seed: int = 0
    threads: int = 2
    tasks: tuple[str, ...] = ()
    augment: bool = False
    shipped: bool = True

    def _faults(self) -> list[tuple[bool, str]]:
        return [
            *super()._faults(),
            *self._below(1, "batch_size", "threads"),
            *task_faults("tasks", self.tasks),
        ]


@dataclass(frozen=True, kw_only=True)
class UnlearnConfig(OptimiserConfig):
    """Unlearning: every method gets the same rows a step and the same number of steps.

    Attributes:
        forget_batch, retain_batch: rows of each kind in every global batch.
        eval_every: steps between two evaluations; the last step is always evaluated.
        retainset_ratio: real retain images at hand, for each forget image; 0 is all there are.
        opendata_to_forget_ratio: retain images at hand, real and proxy together, for each forget
            image; 0 is all there are. `retain_source` says how a batch mixes them.
        precision: `bf16` is autocast; `auto` is that on a GPU, `float32` elsewhere. Weights,
            losses and the optimiser are float32 in each; completions are always drawn in float32.
        accumulate: parts that a batch is cut into, one after the other, to save memory; every loss
            keeps its normalisation over the whole batch.
        recompute: drop the activations of every block and compute them again for the gradient, to
            save memory.
        compile: compile every block by `torch.compile`: minutes at first, faster steps after.
        save_every: steps between two snapshots that a killed trial goes on from; 0 is at each
            evaluation.
        noise_bank: MAGE: noise images that are drawn and tokenised once, from which every step
            draws; 0 draws and tokenises new ones, as published.
        token_cache: MAGE: tokenise every view of the training images once, for all trials, in
            place of the images of every step. `ours` then needs a noise bank.
    """

    forget_batch: int = 32
    retain_batch: int = 32
    eval_every: int = 50
    retainset_ratio: float = 0.0
    opendata_to_forget_ratio: float = 0.0
    precision: PrecisionName = "auto"
    accumulate: int = 1
    recompute: bool = False
    compile: bool = False
    save_every: int = 0
    noise_bank: int = 0
    token_cache: bool = False

    def _faults(self) -> list[tuple[bool, str]]:
        real, every = self.retainset_ratio, self.opendata_to_forget_ratio
        return [
            *super()._faults(),
            *self._below(1, "forget_batch", "retain_batch", "eval_every"),
            *self._below(1, "accumulate"),
            *self._below(0, "retainset_ratio", "opendata_to_forget_ratio"),
            *self._below(0, "save_every", "noise_bank"),
            *(
                (
                    getattr(self, name) % max(self.accumulate, 1) != 0,
                    f"{name}={getattr(self, name)} is not a multiple of accumulate="
                    f"{self.accumulate}",
                )
                for name in ("forget_batch", "retain_batch")
            ),
            (
                0.0 < every < real,
                f"opendata_to_forget_ratio={every} is below retainset_ratio={real}, a part of it",
            ),
        ]
