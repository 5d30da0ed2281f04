"""Retain Label: the forget set's completions are trained towards completions of retain images.

L = ||out(R) - T(R)||^2 + alpha * ||out(F) - T(r)||^2, r a retain row of the batch, T the frozen
teacher, over the removed places and the whole model. Baseline of Li et al. (ICLR 2024), "Retain
Label", after Kong and Chaudhuri, 2023. The released code multiplies its forget term by (1 + s),
which is 0 on forget rows; that fault is not repeated. Its Palette compares whole images, which
`formulation="released"` keeps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.methods.base import LossBatch, Method, output_places
from trainables.models.base import RowLoss


def rows(batch: LossBatch) -> RowLoss:
    """Returns the distance of outputs to the teacher's: a forget row's to a retain row's, in turn.

    Raises:
        ValueError: the batch holds forget rows and no retain row.
    """
    retained = (~batch.forget).nonzero().flatten()
    partners = _partners(batch.forget, len(retained))
    with torch.no_grad():
        targets = batch.teacher.output({n: each[retained] for n, each in batch.inputs.items()})
    error = (batch.model.output(batch.inputs) - targets[partners]).square().flatten(2).mean(dim=2)
    places = output_places(batch.model, batch.inputs, batch.formulation)
    return RowLoss((error * places).sum(dim=1), places.sum(dim=1))


def _partners(forget: Tensor, retained: int) -> Tensor:
    """Returns `(B,)`: a retain row's own position among them, a forget row's partner in turn."""
    forgotten = forget.nonzero().flatten()
    if len(forgotten) and not retained:
        raise ValueError("retain_label needs a retain row in every batch")
    place = torch.cumsum(~forget, dim=0) - 1
    if len(forgotten):
        place[forgotten] = torch.arange(len(forgotten), device=place.device) % retained
    return place


METHOD = Method(name="retain_label", rows=rows, moves="model")
