"""The methods by name."""

from trainables.methods import (
    max_loss,
    noisy_label,
    original,
    ours,
    random_encoder,
    retain_label,
    retrained,
)
from trainables.methods.base import LossBatch, Method, Terms

METHODS: dict[str, Method] = {
    each.METHOD.name: each.METHOD
    for each in (
        original,
        max_loss,
        noisy_label,
        retain_label,
        random_encoder,
        ours,
        retrained,
    )
}

__all__ = ["METHODS", "LossBatch", "Method", "Terms"]
