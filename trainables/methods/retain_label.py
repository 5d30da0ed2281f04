"""Retain Label: the forget set's completions are trained towards completions of retain images.

L = ||out(R) - T(R)||^2 + alpha * ||out(F) - T(r)||^2, r a retain row of the batch, T the frozen
teacher, over the removed
places and the whole model. Baseline of Li et al. (ICLR 2024), "Retain Label", after Kong and
Chaudhuri, 2023.
The released code multiplies its forget term by (1 + s), which is 0 on forget rows; that fault is
not repeated. Its Palette compares whole images, which `formulation="released"` keeps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.config import Formulation
from trainables.methods.base import Method, Terms, weigh
from trainables.models.base import CompletionModel, Inputs, RowLoss
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
    """Squared distance of outputs to the teacher's: a forget row's to a retain row's, in turn.

    Raises:
        ValueError: the batch holds forget rows and no retain row.
    """
    retained = (~forget).nonzero().flatten()
    forgotten = forget.nonzero().flatten()
    if len(forgotten) and not len(retained):
        raise ValueError("retain_label needs a retain row in every batch")
    with torch.no_grad():
        targets = teacher.output({name: each[retained] for name, each in inputs.items()})
    # a row's own position among the retain rows, and for forget rows a retain row's in turn
    place = torch.cumsum(~forget, dim=0) - 1
    if len(forgotten):
        place[forgotten] = torch.arange(len(forgotten), device=place.device) % len(retained)
    error = (model.output(inputs) - targets[place]).square().flatten(2).mean(dim=2)
    places = (
        model.output_places(inputs) if formulation == "paper" else model.released_places(inputs)
    )
    rows = RowLoss((error * places).sum(dim=1), places.sum(dim=1))
    return weigh(rows, forget, alpha=alpha, sign=1, formulation=formulation, world=world)


METHOD = Method(name="retain_label", loss=loss, moves="model")
