"""The configuration of one trial, whole: frozen, keyword-only, checked, without torch.

Every random choice of a trial comes from a seed in here, and its `key` is a hash of everything that
can change its result.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from trainables.errors import ConfigError

ModelName = Literal[
    "mae_tiny",
    "mae_vit_base_patch16",
    "mae_vit_large_patch16",
    "mage_tiny",
    "mage_vit_base_patch16",
    "mage_vit_large_patch16",
    "palette_tiny",
    "palette_places2",
]
MethodName = Literal[
    "original", "max_loss", "noisy_label", "retain_label", "random_encoder", "ours"
]
SourceName = Literal["photos", "folder"]
Variant = Literal["paper", "released"]
TaskKind = Literal[
    "centre", "random", "left", "right", "up", "down", "outpaint", "box", "brush", "hybrid"
]
SamplerName = Literal["default", "ancestral", "ddim"]


# sides of images are whole multiples of these; a test holds them against the models
IMAGE_MULTIPLES: dict[ModelName, int] = {
    "mae_tiny": 4,
    "mae_vit_base_patch16": 16,
    "mae_vit_large_patch16": 16,
    "mage_tiny": 4,
    "mage_vit_base_patch16": 16,
    "mage_vit_large_patch16": 16,
    "palette_tiny": 8,
    "palette_places2": 8,
}


def retain_share(source: str) -> float | None:
    """Share of real rows among the retain rows of a batch.

    Args:
        source: `real`, `proxy`, `none`, a number in [0, 1] (the share of real images), or `R:P`
            (real to proxy).

    Returns:
        The share in [0, 1], or None where a batch holds no retain rows at all.

    Raises:
        ValueError: the text is none of these.
    """
    if source == "none":
        return None
    if source in ("real", "proxy"):
        return 1.0 if source == "real" else 0.0
    real, colon, proxy = source.partition(":")
    parts = (float(real), float(proxy)) if colon else (float(real), 1.0 - float(real))
    if not all(0.0 <= part < math.inf for part in parts) or not sum(parts):
        raise ValueError(source)
    return parts[0] / sum(parts)


class _Checked:
    """Collects every fault of a configuration, so that a user mends them in one go."""

    def __post_init__(self) -> None:
        problems = [f"{self._section()}{text}" for wrong, text in self._faults() if wrong]
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            shown = f"{self._section()}{name}={value}"
            if any(text.startswith(shown) for text in problems):
                continue
            if get_origin(hint) is Literal and value not in get_args(hint):
                problems.append(f"{shown} is not one of {', '.join(get_args(hint))}")
            elif hint is float and not math.isfinite(value):
                problems.append(f"{shown} is not a finite number")
            elif hint is float:
                # 1 and 1.0 are equal, so their keys must be
                object.__setattr__(self, name, float(value))
        if problems:
            raise ConfigError(problems)

    def _section(self) -> str:
        """What comes before a field's name on the command line, as far as the class tells."""
        name = type(self).__name__.removesuffix("Config").lower()
        return "" if name == "trial" else f"{name}."

    def _faults(self) -> list[tuple[bool, str]]:
        return []

    def _below(self, least: int, *names: str) -> list[tuple[bool, str]]:
        """A fault for each of these fields that is below the least it may be."""
        return [
            (getattr(self, name) < least, f"{name}={getattr(self, name)} is below {least}")
            for name in names
        ]


@dataclass(frozen=True, kw_only=True)
class DataConfig(_Checked):
    """Which images, in which roles.

    Attributes:
        source: `photos` (embedded in the installed packages) or `folder` (a directory of class sub-
            folders).
        root: the directory of a `folder` source.
        split_file: optional CSV `class,role` in place of the three lists.
        forget, retain, proxy: class names; empty for `photos` means the product's own split.
        image_size: side of the square images, pixels.
        seed: draws crops (`photos`) and train, validation and test splits (`folder`).
        strict: stop at an unusable image instead of leaving it out.
        train_per_class: most training images of a class.
        val_per_class, test_per_class: most validation and test images of a class.
    """

    source: SourceName = "photos"
    root: str = ""
    split_file: str = ""
    forget: tuple[str, ...] = ()
    retain: tuple[str, ...] = ()
    proxy: tuple[str, ...] = ()
    image_size: int = 32
    seed: int = 0
    strict: bool = False
    train_per_class: int = 512
    val_per_class: int = 64
    test_per_class: int = 64

    def _faults(self) -> list[tuple[bool, str]]:
        both = [
            (name, first, second)
            for first, second in (("forget", "retain"), ("forget", "proxy"), ("retain", "proxy"))
            for name in sorted(set(getattr(self, first)) & set(getattr(self, second)))
        ]
        return [
            (self.source == "folder" and not self.root, "source=folder needs data.root"),
            *self._below(8, "image_size"),
            *((True, f"{a} and data.{b} both name class {name!r}") for name, a, b in both),
            *self._below(1, "train_per_class", "val_per_class", "test_per_class"),
        ]


@dataclass(frozen=True, kw_only=True)
class TaskConfig(_Checked):
    """Which part of an image is removed.

    Attributes:
        kind: `centre` (a square), `random` (patches), `left`, `right`, `up`, `down` (that side),
            `outpaint` (the border), `box` (a rectangle anywhere), `brush` (free-form strokes),
            `hybrid` (what a box or strokes cover).
        ratio: side of the centre square, share of the patches, of the side, or of the border; of
            box, brush and hybrid the share of the area; in (0, 1).
    """

    kind: TaskKind = "centre"
    ratio: float = 0.5

    def _faults(self) -> list[tuple[bool, str]]:
        return [(not 0.0 < self.ratio < 1.0, f"ratio={self.ratio} is outside (0, 1)")]


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig(_Checked):
    """AdamW with warm-up and cosine decay, clipped; none of the weight decay on 1-d parameters.

    Attributes:
        steps: optimiser steps in total.
        lr: peak learning rate, as given (not scaled by the batch).
        weight_decay, beta1, beta2, clip: AdamW's, and the largest gradient norm.
        warmup: share of the steps of linear warm-up, in [0, 1].
    """

    steps: int = 100
    lr: float = 1e-3
    weight_decay: float = 0.05
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 3.0
    warmup: float = 0.1

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
    """

    steps: int = 900
    lr: float = 3e-3
    batch_size: int = 64
    seed: int = 0
    threads: int = 2

    def _faults(self) -> list[tuple[bool, str]]:
        return [*super()._faults(), *self._below(1, "batch_size", "threads")]


@dataclass(frozen=True, kw_only=True)
class UnlearnConfig(OptimiserConfig):
    """Unlearning: every method gets the same rows a step and the same number of steps.

    Attributes:
        forget_batch, retain_batch: rows of each kind in every global batch.
        eval_every: steps between two evaluations; the last step is always evaluated.
    """

    forget_batch: int = 32
    retain_batch: int = 32
    eval_every: int = 50

    def _faults(self) -> list[tuple[bool, str]]:
        return [
            *super()._faults(),
            *self._below(1, "forget_batch", "retain_batch", "eval_every"),
        ]


@dataclass(frozen=True, kw_only=True)
class ExtractorConfig(_Checked):
    """The small CNN, trained on the training images' classes, that measures the embedded data.

    Attributes:
        dim: width of its embedding.
        jitter: how strongly the colours of its training images are changed, in [0, 1]: a network
            that can tell the photographs by colour alone is blind to blurred completions.
        steps, batch_size, lr, seed: of its training.
    """

    dim: int = 64
    jitter: float = 1.0
    steps: int = 300
    batch_size: int = 128
    lr: float = 3e-3
    seed: int = 0

    def _faults(self) -> list[tuple[bool, str]]:
        return [
            (not 0.0 < self.lr < 10.0, f"lr={self.lr} is outside (0, 10)"),
            (not 0.0 <= self.jitter <= 1.0, f"jitter={self.jitter} is outside [0, 1]"),
            *self._below(1, "dim", "steps", "batch_size"),
        ]


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(_Checked):
    """How completions are measured.

    Attributes:
        seed: permutes images before the Inception Score splits, draws completions and the t-SNE;
            in [0, 2^32).
        is_splits: splits of the Inception Score.
        batch_size: images completed at once.
        grid_images: images a side in the sample grid.
        tsne_points: points of each of the four t-SNE groups.
        retain_tolerance: how far above the original's a feasible trial's retain FD may be, 0.10 is
            10 %.
    """

    seed: int = 0
    is_splits: int = 10
    batch_size: int = 128
    grid_images: int = 6
    tsne_points: int = 60
    retain_tolerance: float = 0.10

    def _faults(self) -> list[tuple[bool, str]]:
        return [
            (not 0 <= self.seed < 2**32, f"seed={self.seed} is outside [0, 2^32)"),
            (self.retain_tolerance < 0.0, f"retain_tolerance={self.retain_tolerance} is below 0"),
            *self._below(1, "is_splits", "batch_size", "grid_images", "tsne_points"),
        ]


@dataclass(frozen=True, kw_only=True)
class SamplingConfig(_Checked):
    """How a model that samples draws its completions; one that completes in one pass ignores it.

    Attributes:
        sampler: of diffusion, `ancestral` (every step of the model's test schedule) or `ddim` (some
            of them); `default` leaves it to the model.
        steps: of `ddim`, or most rounds of MAGE's decoding; 0 leaves it to the model.
    """

    sampler: SamplerName = "default"
    steps: int = 0

    def _faults(self) -> list[tuple[bool, str]]:
        return [
            *self._below(0, "steps"),
            (
                self.sampler == "ancestral" and self.steps > 0,
                f"steps={self.steps} is of ddim: ancestral takes every step of the schedule",
            ),
        ]


@dataclass(frozen=True, kw_only=True)
class TrialConfig(_Checked):
    """One trial: a model, a method and its hyperparameters, the data and the measuring.

    Attributes:
        model, method: names in `trainables.models.MODELS` and `trainables.methods.METHODS`.
        variant: `paper`, or `released` for the constants of the released code.
        retain_source: where the retain rows come from; see `retain_share`.
        forget_alpha: weight of the forget term, 0 or more.
        seed: order of the rows, masks and noise of unlearning.
    """

    model: ModelName = "mae_tiny"
    method: MethodName = "ours"
    variant: Variant = "paper"
    retain_source: str = "real"
    forget_alpha: float = 0.25
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    train_task: TaskConfig = field(default_factory=lambda: TaskConfig(kind="random", ratio=0.5))
    test_task: TaskConfig = field(default_factory=TaskConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    unlearn: UnlearnConfig = field(default_factory=UnlearnConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    extractor: ExtractorConfig = field(default_factory=ExtractorConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def _faults(self) -> list[tuple[bool, str]]:
        try:
            share: float | None = retain_share(self.retain_source)
            known = True
        except ValueError:
            share, known = 0.0, False
        multiple = IMAGE_MULTIPLES.get(self.model, 1)  # an unknown model is told of elsewhere
        return [
            (
                not known,
                f"retain_source={self.retain_source!r} is not real, proxy, none, "
                "a share in [0, 1] or R:P",
            ),
            (
                self.method == "retain_label" and share is None,
                "retain_label maps forget rows onto retain rows: retain_source=none leaves it none",
            ),
            (self.forget_alpha < 0.0, f"forget_alpha={self.forget_alpha} is below 0"),
            (
                self.data.image_size % multiple != 0,
                f"data.image_size={self.data.image_size} is not a multiple of {multiple}, "
                f"as {self.model} needs",
            ),
        ]

    def batch_rows(self) -> dict[str, int]:
        """Rows of each role in every global batch of unlearning; none for `original`.

        The number of forget rows and of retain rows does not depend on the retain source.
        """
        share = retain_share(self.retain_source)
        if self.method == "original":
            return {}
        retain = 0 if share is None else self.unlearn.retain_batch
        real = round(retain * (share or 0.0))
        rows = {"retain": real, "proxy": retain - real, "forget": self.unlearn.forget_batch}
        return {role: count for role, count in rows.items() if count}

    def canonical(self) -> TrialConfig:
        """This trial with the fields that its model and method ignore at their defaults."""
        trial = self
        if self.model.startswith("mae_"):
            trial = dataclasses.replace(trial, sampling=SamplingConfig())
        elif self.model.startswith("mage_"):
            sampling = SamplingConfig(steps=self.sampling.steps)
            trial = dataclasses.replace(trial, sampling=sampling)
        if self.method != "original":
            return trial
        return dataclasses.replace(
            trial,
            variant="paper",
            retain_source="real",
            forget_alpha=0.0,
            unlearn=UnlearnConfig(),
        )

    def key(self) -> str:
        """Twelve hexadecimal digits: equal configurations, equal keys, on every machine."""
        return content_key(to_dict(self.canonical()))


def content_key(material: Any) -> str:
    """Twelve hexadecimal digits of the SHA-256 of canonical JSON."""
    text = json.dumps(material, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as nested plain values that JSON can hold."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain
