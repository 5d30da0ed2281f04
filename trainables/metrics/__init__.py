"""Metrics as pure functions of arrays."""

from trainables.metrics.cosine import cosine_similarity
from trainables.metrics.fid import frechet_distance
from trainables.metrics.inception_score import inception_score
from trainables.metrics.kid import kernel_distance

__all__ = [
    "cosine_similarity",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
]
