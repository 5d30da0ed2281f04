"""The smallest trial that is still a whole one: seconds on one core, meaningless figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trainables.config import TrialConfig
from trainables.config.overrides import apply_overrides

STEPS = 4
EVALUATED = (2, 4)


def tiny(**overrides: Any) -> TrialConfig:
    """A tiny trial; further fields by their dotted names, `__` for the dot."""
    given = {name.replace("__", "."): value for name, value in overrides.items()}
    return apply_overrides(
        TrialConfig(),
        {
            "data.train_per_class": 32,
            "data.val_per_class": 8,
            "data.test_per_class": 8,
            "pretrain.steps": 5,
            "pretrain.batch_size": 8,
            "extractor.steps": 5,
            "extractor.batch_size": 16,
            "unlearn.steps": STEPS,
            "unlearn.eval_every": EVALUATED[0],
            "unlearn.forget_batch": 4,
            "unlearn.retain_batch": 4,
            "evaluation.is_splits": 4,
            "evaluation.grid_images": 2,
            "evaluation.tsne_points": 6,
            **given,
        },
    )


def files(folder: Path) -> set[str]:
    """Names of everything below a folder, with `/`."""
    return {each.relative_to(folder).as_posix() for each in folder.rglob("*")}
