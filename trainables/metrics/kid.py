"""Kernel distance (KID) of two sets of features: an unbiased estimate, unlike the Frechet distance.

Binkowski et al., "Demystifying MMD GANs" (ICLR 2018): the squared maximum mean discrepancy of the
kernel k(x, y) = (x . y / D + 1)^3, averaged over random subsets.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from trainables.utils.errors import NonFiniteError

_CPU = torch.device("cpu")


def kernel_distance(
    first: ArrayLike,
    second: ArrayLike,
    *,
    subsets: int = 100,
    size: int = 1000,
    seed: int = 0,
    device: torch.device = _CPU,
) -> tuple[float, float]:
    """Mean and standard deviation over subsets; the mean may be below 0, as an unbiased one must.

    Args:
        first: features `(N, D)`.
        second: features `(M, D)`.
        subsets: how many are drawn.
        size: images of each side in a subset, without repetition; at most min(N, M) are taken.
            Where that is all of both, subsets are equal and one is computed: deviation 0.
        seed: of the subsets.
        device: of the products, which are in double precision.

    Raises:
        NonFiniteError: a feature is NaN or infinite.
        ValueError: fewer than two features, or other widths.
    """
    one, two = (torch.as_tensor(np.asarray(each)) for each in (first, second))
    if one.ndim != 2 or two.ndim != 2 or one.shape[1] != two.shape[1]:
        raise ValueError(f"features of shapes {tuple(one.shape)} and {tuple(two.shape)}")
    size = min(size, len(one), len(two))
    if size < 2:
        raise ValueError(f"subsets of {size} features: expected 2 or more")
    if not bool(torch.isfinite(one).all()) or not bool(torch.isfinite(two).all()):
        raise NonFiniteError("a feature is NaN or infinite")
    chance = np.random.default_rng(seed)
    distances = []
    for _ in range(1 if size == len(one) == len(two) else subsets):
        chosen = [
            every[chance.choice(len(every), size, replace=False)].to(device, torch.float64)
            for every in (one, two)
        ]
        distances.append(float(squared_discrepancy(*chosen)))
    return float(np.mean(distances)), float(np.std(distances))


def squared_discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy of features `(N, D)` and `(M, D)`, a scalar."""
    within = _off_diagonal_mean(first) + _off_diagonal_mean(second)
    return within - 2.0 * _kernel(first, second).mean()


def _kernel(first: Tensor, second: Tensor) -> Tensor:
    return (first @ second.T / first.shape[1] + 1.0) ** 3


def _off_diagonal_mean(features: Tensor) -> Tensor:
    kernel, count = _kernel(features, features), len(features)
    return (kernel.sum() - kernel.diagonal().sum()) / (count * (count - 1))
