"""Holds what the paper's studies share: models, budgets, measures, and small stand-ins of them.

Where the paper says a batch a GPU, the batch is that of the eight GPUs that it used. What it leaves
open is chosen as the head of `search_spaces.table_1_2` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution

from trainables.config import PAPER_SIZES, FamilyName, ModelName, SourceName

SEVEN: tuple[Mapping[str, Any], ...] = (
    {"method": "original"},
    {"method": "max_loss"},
    {"method": "noisy_label"},
    {"method": "retain_label"},
    {"method": "random_encoder"},
    {"method": "ours"},
    {"method": "ours", "retain_source": "proxy"},
)
# what true forgetting looks like: for originals that are trained here
EIGHT = (SEVEN[0], {"method": "retrained"}, *SEVEN[1:])

# the paper's examples take 0.1 and 0.2
ALPHAS = (0.01, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0)
# whatever is searched encloses the grid
SPACE: Mapping[str, BaseDistribution] = {
    "forget_alpha": FloatDistribution(0.01, 1.0, log=True),
    "unlearn.lr": FloatDistribution(3e-4, 3e-3, log=True),
}

# for the photographs that come with the product, on two CPU cores
TINY: Mapping[ModelName, Mapping[str, Any]] = {
    "mae_tiny": {
        "unlearn.steps": 60,
        "unlearn.eval_every": 30,
        "unlearn.forget_batch": 16,
        "unlearn.retain_batch": 16,
    },
    # those that sample take their time to complete images: one look, and Palette in fewer steps
    "mage_tiny": {
        "unlearn.steps": 60,
        "unlearn.eval_every": 60,
        "unlearn.forget_batch": 16,
        "unlearn.retain_batch": 16,
        "unlearn.noise_bank": 256,
        "unlearn.token_cache": True,
        "sampling.steps": 8,
    },
    "palette_tiny": {
        "unlearn.steps": 60,
        "unlearn.eval_every": 60,
        "unlearn.forget_batch": 16,
        "unlearn.retain_batch": 16,
        "train_task.kind": "hybrid",  # as published
        "train_task.ratio": 0.3,
        "sampling.steps": 4,
    },
}

_GPUS = 8


def _data(source: SourceName, **sizes: int) -> dict[str, Any]:
    """Returns the paper's data set with its split and sizes, those in `sizes` changed."""
    sized = {**PAPER_SIZES[source], **sizes}
    return {"data.source": source, **{f"data.{name}": value for name, value in sized.items()}}


def _budget(classes: int, source: SourceName, epochs: int, batch: int) -> dict[str, Any]:
    """Returns the options that make the paper's epochs as steps; half of a batch is to forget.

    Args:
        classes: how many retain and forget classes there are together.
        source: the data set that holds their images.
        epochs: how often every image is met.
        batch: rows a step on all GPUs together.
    """
    rows = classes * PAPER_SIZES[source]["train_per_class"] * epochs
    steps = round(rows / batch)
    return {
        "unlearn.steps": steps,
        "unlearn.eval_every": steps,  # measured once, at the end
        "unlearn.save_every": steps // 20,  # what a killed trial loses at most
        "unlearn.forget_batch": batch // 2,
        "unlearn.retain_batch": batch // 2,
    }


# as in the paper: 100 + 100 classes, 6 epochs, 32 rows a GPU; AdamW with beta 0.9 and 0.95, decay
# 0.05 and clipping at 3, which are the defaults
_IMAGENET = _budget(100 + 100, "imagenet", 6, 32 * _GPUS)
# as in the paper: 50 + 50 classes, 2 epochs, 12 rows a GPU
_PLACES = _budget(50 + 50, "places365", 2, 12 * _GPUS)

FAMILIES: Mapping[FamilyName, Mapping[str, Any]] = {
    "mage": {
        **_data("imagenet"),
        **_IMAGENET,
        "forget_alpha": 0.2,  # as in the paper's examples
        "unlearn.lr": 1e-4 * 32 * _GPUS / 256,  # as in the paper: 1e-4 for 256 rows
        "unlearn.warmup": 5 / 6,  # as in the paper: 5 of 6 epochs
        "train_task.kind": "random",  # as in the paper: random tokens, half of them and more
        "train_task.ratio": 0.5,
        "sampling.steps": 20,  # as in the paper
    },
    "palette": {
        **_data("places365", val_per_class=20),  # a completion takes 2000 passes
        **_PLACES,
        "forget_alpha": 0.1,  # as in the paper's examples
        # as in the paper: Adam at 5e-5; what it does not tell is Adam's own, without clipping
        "unlearn.lr": 5e-5,
        "unlearn.schedule": "constant",
        "unlearn.warmup": 0.0,
        "unlearn.beta2": 0.999,
        "unlearn.weight_decay": 0.0,
        "unlearn.clip": 1e9,
        "train_task.kind": "hybrid",  # as in the paper
        "train_task.ratio": 0.3,
        "sampling.sampler": "ancestral",  # as in the paper: 2000 steps
        "networks.probabilities": "places365",  # as in the paper
    },
    "mae": {
        **_data("imagenet", image_size=224),  # as published
        **_IMAGENET,
        "forget_alpha": 0.2,
        "unlearn.lr": 1.5e-4 * 32 * _GPUS / 256,  # as published: 1.5e-4 for 256 rows
        "unlearn.warmup": 40 / 800,  # as published
        "train_task.kind": "random",  # as in the paper
        "train_task.ratio": 0.75,  # as published
    },
}

# as in the paper: centre 8 of 16 tokens a side; three networks; ten splits; every 100th of 5000
# vectors
MEASURES: Mapping[str, Any] = {
    "test_task.kind": "centre",
    "test_task.ratio": 0.5,
    "networks.features": "inception",
    "networks.probabilities": "inception",
    "networks.embeddings": "ViT-H-14",
    "networks.clip_pretrained": "laion2b_s32b_b79k",
    "evaluation.is_splits": 10,
    "evaluation.tsne_points": 50,
}

_PUBLISHED: Mapping[ModelName, FamilyName] = {
    "mage_vit_base_patch16": "mage",
    "mage_vit_large_patch16": "mage",
    "palette_places2": "palette",
    "mae_vit_base_patch16": "mae",
    "mae_vit_large_patch16": "mae",
}
# a model of a published size in any study: the paper's options
FULL: Mapping[ModelName, Mapping[str, Any]] = {
    model: {**MEASURES, **FAMILIES[family]} for model, family in _PUBLISHED.items()
}
