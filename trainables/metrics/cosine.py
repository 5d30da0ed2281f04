"""Cosine of the embeddings of a completion and of the real image: the paper's CLIP distance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def cosine_similarity(first: ArrayLike, second: ArrayLike) -> float:
    """Mean over rows of the cosine of embeddings `(N, E)`, in [-1, 1]."""
    a = np.asarray(first, dtype=np.float64)
    b = np.asarray(second, dtype=np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = (a * b).sum(axis=1) / np.maximum(norms, np.finfo(np.float64).tiny)
    # rounding may lead out of the range
    return float(cosines.clip(-1.0, 1.0).mean())
