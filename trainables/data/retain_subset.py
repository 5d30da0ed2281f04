"""Takes the subset of the retain images that unlearning may see, in ratio to the forget ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainables.config import TrialConfig
from trainables.data.dataset import Dataset
from trainables.utils.errors import ConfigError
from trainables.utils.rng import mix_seed


def training_rows(config: TrialConfig, dataset: Dataset) -> dict[str, NDArray[np.int64]]:
    """Returns the manifest rows of the training images of each role that a batch holds.

    The images of a smaller ratio are among those of a larger one.

    Raises:
        ConfigError: the ratios ask for more images than there are, or for none.
    """
    options = config.unlearn
    rows = {role: dataset.rows(role, "train") for role in config.batch_rows()}
    forget = len(rows.get("forget", ()))
    real = len(dataset.rows("retain", "train"))
    problems = []
    if options.retainset_ratio:
        real = round(options.retainset_ratio * forget)
        problems += _take(
            rows, "retain", real, config, f"retainset_ratio={options.retainset_ratio}"
        )
    if options.opendata_to_forget_ratio:
        every = f"opendata_to_forget_ratio={options.opendata_to_forget_ratio}"
        count = round(options.opendata_to_forget_ratio * forget)
        used = real if "retain" in rows else 0
        proxy = "proxy" in rows
        role, count = ("proxy", count - used) if proxy else ("retain", min(count, real))
        problems += _take(rows, role, count, config, every)
    if problems:
        raise ConfigError(problems)
    return rows


def _take(
    rows: dict[str, NDArray[np.int64]], role: str, count: int, config: TrialConfig, asked: str
) -> list[str]:
    """Cuts the rows of a role down; returns why they cannot be."""
    if role not in rows:
        return []
    there = rows[role]
    if not 0 < count <= len(there):
        return [
            f"unlearn.{asked} asks for {count} {role} training images of the {len(there)} there are"
        ]
    order = np.random.default_rng(mix_seed(config.data.seed, "available", role)).permutation(
        len(there)
    )
    rows[role] = np.sort(there[order[:count]])
    return []
