"""Inception Score: exp of the mean divergence of each image's classes from the average ones.

Salimans et al., "Improved Techniques for Training GANs" (NeurIPS 2016).
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike

from trainables.utils.errors import NonFiniteError


def inception_score(probabilities: ArrayLike, splits: int = 10) -> tuple[float, float]:
    """Mean and standard deviation over splits.

    Args:
        probabilities: `(N, C)`, each row sums to 1; split in the given order, so permute before.
        splits: parts of equal size; where N does not divide, some hold one image more, and the
            last one is among these.

    Raises:
        NonFiniteError: a probability is NaN or infinite.
        ValueError: fewer images than splits.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if len(values) < splits:
        raise ValueError(f"{len(values)} images for {splits} splits")
    if not np.isfinite(values).all():
        raise NonFiniteError("a class probability is NaN or infinite")
    edges = [len(values) * part // splits for part in range(splits + 1)]
    scores = []
    for start, end in itertools.pairwise(edges):
        part = values[start:end]
        mean = part.mean(axis=0, keepdims=True)
        # 0 log 0 is 0
        ratio = np.log(np.where(part > 0.0, part, 1.0)) - np.log(np.where(mean > 0.0, mean, 1.0))
        scores.append(np.exp((part * ratio).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))
