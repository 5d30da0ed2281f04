"""Max Loss: train on the retain set, train away from the forget set.

L = L_task(R) - alpha * L_task(F), over the whole model. Baseline of Li et al. (ICLR 2024), "Max
Loss", after Halimi et al.,
2022, and Gandikota et al., 2023. Unbounded below.
"""

from __future__ import annotations

from torch import Tensor

from trainables.config import Formulation
from trainables.methods.base import Method, Terms, weigh
from trainables.models.base import CompletionModel, Inputs
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
    """Task loss of the retain rows minus alpha times that of the forget rows. No teacher."""
    rows = model.task_loss(inputs)
    return weigh(rows, forget, alpha=alpha, sign=-1, formulation=formulation, world=world)


METHOD = Method(name="max_loss", loss=loss, moves="model", forget_sign=-1)
