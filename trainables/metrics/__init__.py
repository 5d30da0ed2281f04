"""Metrics as pure functions of arrays."""

from trainables.metrics.clip import cosine_similarity
from trainables.metrics.frechet import frechet_distance
from trainables.metrics.inception_score import inception_score
from trainables.metrics.kernel import kernel_distance
from trainables.metrics.resize import resize_batch_for_inception, resize_for_inception

__all__ = [
    "cosine_similarity",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "resize_batch_for_inception",
    "resize_for_inception",
]
