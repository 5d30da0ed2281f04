"""Noisy Label: the forget set's completions are trained towards noise.

L = L_task(R) + alpha * L_task(F against noise), over the whole model. Baseline of Li et al. (ICLR
2024), "Noisy Label", after Graves et al., 2021, and Gandikota et al., 2023. The noise of each
family is drawn by `model.with_noise_labels`.
"""

from __future__ import annotations

from trainables.methods.base import LossBatch, Method
from trainables.models.base import RowLoss


def rows(batch: LossBatch) -> RowLoss:
    """Returns the task loss, on forget rows against noise; no teacher is asked."""
    return batch.model.task_loss(batch.model.with_noise_labels(batch))


METHOD = Method(name="noisy_label", rows=rows, moves="model")
