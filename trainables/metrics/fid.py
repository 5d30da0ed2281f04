"""Frechet distance between two sets of features, each taken for a Gaussian.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule" (NeurIPS 2017):
|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainables.utils.errors import NonFiniteError


@dataclass(frozen=True)
class Gaussian:
    """Mean `(D,)` and covariance `(D, D)`, unbiased, of some features."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def gaussian(features: ArrayLike) -> Gaussian:
    """The Gaussian of features `(N, D)`, N at least 2.

    Raises:
        NonFiniteError: a feature is NaN or infinite.
        ValueError: another shape.
    """
    values = _checked(features)
    covariance = np.atleast_2d(np.cov(values, rowvar=False))
    return Gaussian(values.mean(axis=0), covariance)


def _checked(features: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"features of shape {values.shape}: expected (N, D) with N >= 2")
    if not np.isfinite(values).all():
        raise NonFiniteError("a feature is NaN or infinite")
    return values


def gaussian_distance(first: Gaussian, second: Gaussian) -> float:
    """Frechet distance of two Gaussians, 0 or more.

    tr (C1 C2)^(1/2) is the sum of the roots of the eigenvalues of C1^(1/2) C2 C1^(1/2), which is
    symmetric: exact also where a covariance is singular, as for N < D, with no complex numbers.
    """
    values, vectors = np.linalg.eigh(first.covariance)
    root = (vectors * np.sqrt(values.clip(min=0.0))) @ vectors.T
    mixed = np.linalg.eigvalsh(root @ second.covariance @ root).clip(min=0.0)
    apart = np.square(first.mean - second.mean).sum()
    spread = np.trace(first.covariance) + np.trace(second.covariance)
    return max(float(apart + spread - 2.0 * np.sqrt(mixed).sum()), 0.0)


def frechet_distance(features_a: ArrayLike, features_b: ArrayLike) -> float:
    """Frechet distance of features `(N, D)` and `(M, D)`, 0 or more.

    Where D is at least twice N and M, tr (C1 C2)^(1/2) is the sum of the singular values of
    X1 X2^T, `(N, M)`, for the centred features X with C = X^T X; it takes no matrix of D by D.

    Raises:
        NonFiniteError: a feature is NaN or infinite.
        ValueError: another shape than that, or N or M below 2.
    """
    first, second = _checked(features_a), _checked(features_b)
    if first.shape[1] < 2 * max(len(first), len(second)):
        return gaussian_distance(gaussian(first), gaussian(second))
    one, two = _centred(first), _centred(second)
    apart = np.square(first.mean(axis=0) - second.mean(axis=0)).sum()
    spread = np.square(one).sum() + np.square(two).sum()
    mixed = np.linalg.svd(one @ two.T, compute_uv=False).sum()
    return max(float(apart + spread - 2.0 * mixed), 0.0)


def _centred(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """X of the features `(N, D)`: X^T X is their unbiased covariance."""
    centred: NDArray[np.float64] = features - features.mean(axis=0)
    centred /= np.sqrt(len(features) - 1)
    return centred
