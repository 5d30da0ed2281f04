"""Metrics as pure functions of arrays."""

from trainables.metrics.clip import cosine_similarity
from trainables.metrics.frechet import frechet_distance
from trainables.metrics.inception_score import inception_score
from trainables.metrics.resize import resize_for_inception

__all__ = ["cosine_similarity", "frechet_distance", "inception_score", "resize_for_inception"]
