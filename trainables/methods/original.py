"""Original: the model before unlearning, and the loss it is pretrained with.

L = mean over all rows of the model's task loss. As a trial it takes no steps: it is the reference
of every other variant.
"""

from __future__ import annotations

from trainables.methods.base import LossBatch, Method
from trainables.models.base import PretrainingStage, RowLoss


def rows(batch: LossBatch) -> RowLoss:
    """Returns the task loss."""
    return batch.model.task_loss(batch.inputs)


METHOD = Method(name="original", rows=rows, moves="model", sign=0)


def pretraining(stage: PretrainingStage) -> Method:
    """Returns the method that trains one stage of a fresh model by the stage's own loss."""
    return Method(
        name="original",
        rows=lambda batch: stage.loss(batch.inputs),
        moves=stage.moves,
        sign=0,
    )
