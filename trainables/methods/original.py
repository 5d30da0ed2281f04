"""Original: the model before unlearning, and the loss it is pretrained with.

L = mean over all rows of the model's task loss. As a trial it takes no steps: it is the reference
of every other variant.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from trainables.config import Formulation
from trainables.methods.base import Method, Terms, weigh
from trainables.models.base import CompletionModel, Inputs, PretrainingStage, RowLoss
from trainables.utils.distributed import ALONE, World
from trainables.utils.rng import RandomSource


def loss(
    model: CompletionModel,
    teacher: CompletionModel,
    inputs: Inputs,
    forget: Tensor,
    *,
    alpha: float = 0.25,
    formulation: Formulation = "paper",
    generator: RandomSource = None,
    world: World = ALONE,
) -> Terms:
    """The task loss over all rows as `total`; `alpha` and `teacher` play no part."""
    return _mean(model.task_loss(inputs), forget, world)


def _mean(rows: RowLoss, forget: Tensor, world: World) -> Terms:
    terms = weigh(rows, forget, alpha=0.0, sign=0, formulation="paper", world=world)
    everything = weigh(rows, forget & False, alpha=0.0, sign=0, formulation="paper", world=world)
    return Terms(everything.retain, terms.retain, terms.forget)


METHOD = Method(name="original", loss=loss, moves="model", forget_sign=0)


def pretraining(stage: PretrainingStage) -> Method:
    """The method that trains one stage of a fresh model: the mean of its loss over all rows."""

    def stage_loss(
        model: CompletionModel,
        teacher: CompletionModel,
        inputs: Inputs,
        forget: Tensor,
        *,
        world: World = ALONE,
        **options: Any,
    ) -> Terms:
        return _mean(stage.loss(inputs), forget, world)

    return Method(name="original", loss=stage_loss, moves=stage.moves, forget_sign=0)
