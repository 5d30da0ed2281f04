"""Noisy Label: the forget set's completions are trained towards noise.

L = L_task(R) + alpha * L_task(F against noise), over the whole model. Baseline of Li et al. (ICLR
2024), "Noisy Label", after
Graves et al., 2021, and Gandikota et al., 2023. The noise of each family is drawn by
`model.with_noise_labels`.
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
    """Task loss of the retain rows, plus alpha times the forget rows' against noise. No teacher."""
    labelled = model.with_noise_labels(inputs, forget, generator, world, formulation)
    rows = model.task_loss(labelled)
    return weigh(rows, forget, alpha=alpha, sign=1, formulation=formulation, world=world)


METHOD = Method(name="noisy_label", loss=loss, moves="model")
