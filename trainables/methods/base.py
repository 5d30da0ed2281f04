"""The contract of an unlearning method: a loss of each row of a batch, and what it may move.

A method says what a row's loss is. Averaging rows into terms is done here, once for all methods:
each term is the mean over its own rows and places and L = L_retain + sign * alpha * L_forget, so
that neither the share of forget rows in a batch nor the number of processes changes a sample's
weight. `formulation="released"` divides both terms by all rows of the batch, as the released code
does.

Two kinds of method need more than a loss. A pass before the first step, such as one over the
retain set for a map of what matters, is work that trials share: it is made once by its content and
read by `rows` or `mask`, as MAGE's tokens are (`trainables.shared`). Several phases in a row attach
where a model's `pretraining_stages` do: a `Method` each, with a share of the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from trainables.config import DEFAULT_ALPHA, Formulation, MethodName
from trainables.models.base import BatchInputs, CompletionModel, Inputs, RowLoss
from trainables.utils.distributed import ALONE, World
from trainables.utils.rng import RandomSource


@dataclass(frozen=True)
class LossBatch(BatchInputs):
    """What the loss of a batch may depend on: its inputs and what is given here.

    Attributes:
        model: the student.
        teacher: the frozen original.
        alpha: weight of the forget term, 0 or more.
    """

    model: CompletionModel
    teacher: CompletionModel
    alpha: float


@dataclass(frozen=True)
class Terms:
    """A loss and its parts, 0-d tensors.

    Attributes:
        total: the value that is minimised.
        retain, forget: the two terms before they are combined, both 0 or more.
    """

    total: Tensor
    retain: Tensor
    forget: Tensor


Places = Callable[[CompletionModel, Inputs, Formulation], Tensor]
Combine = Callable[[Tensor, Tensor, float], Tensor]
Mask = Callable[[str, nn.Parameter], Tensor | None]


def one_a_row(model: CompletionModel, inputs: Inputs, formulation: Formulation) -> Tensor:
    """Returns ones `(B,)`, for losses whose rows count alike."""
    return torch.ones_like(model.output_places(inputs)[:, 0])


def output_places(model: CompletionModel, inputs: Inputs, formulation: Formulation) -> Tensor:
    """Returns `(B, L)`: 1 where a row's output is compared, else 0."""
    at = model.output_places if formulation == "paper" else model.released_places
    return at(inputs)


def compared_places(model: CompletionModel, inputs: Inputs, formulation: Formulation) -> Tensor:
    """Returns at how many places each row's output is compared, `(B,)`."""
    return output_places(model, inputs, formulation).sum(dim=1)


def weighted_sum(retain: Tensor, forget: Tensor, weight: float) -> Tensor:
    """Returns retain + weight * forget."""
    return retain + weight * forget


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method.

    Attributes:
        name: its key in `METHODS`.
        rows: the loss of each row of a batch, not yet averaged.
        moves: the parameters that it trains, or their names.
        sign: +1 where the forget term is minimised, -1 where it is maximised, 0 where there is
            none: the total is then the mean over all rows.
        places: how many places of each row the terms divide by, `(B,)`, known before the loss.
        noise_images: whether it asks for the noise images of forget rows.
        combine: makes the total of the retain term, the forget term and its weight, sign * alpha.
            Another than the weighted sum needs whole batches: one worker, one part.
        mask: a factor on the gradient of a parameter, given by name and as it was before the first
            step, broadcast over it; None leaves it whole. Weight decay is not masked.
    """

    name: MethodName
    rows: Callable[[LossBatch], RowLoss]
    moves: Literal["encoder", "model"] | frozenset[str]
    sign: Literal[-1, 0, 1] = 1
    places: Places = compared_places
    noise_images: bool = False
    combine: Combine = weighted_sum
    mask: Mask | None = None

    def loss(
        self,
        model: CompletionModel,
        teacher: CompletionModel,
        inputs: Inputs,
        forget: Tensor,
        *,
        alpha: float = DEFAULT_ALPHA,
        formulation: Formulation = "paper",
        generator: RandomSource = None,
        world: World = ALONE,
    ) -> Terms:
        """Returns the loss of a batch; see `LossBatch` for the arguments."""
        rows = self.rows(
            LossBatch(inputs, forget, formulation, generator, world, model, teacher, alpha)
        )
        if self.sign:
            retain = _mean(rows, ~forget, formulation, world)
            return self.weigh(retain, _mean(rows, forget, formulation, world), alpha)
        total, retain, forgotten = (
            _mean(rows, chosen, "paper", world)
            for chosen in (torch.ones_like(forget), ~forget, forget)
        )
        return Terms(total, retain, forgotten)

    def weigh(self, retain: Tensor, forget: Tensor, alpha: float) -> Terms:
        """Returns the two terms of a batch, or of a part of it, with their total."""
        return Terms(self.combine(retain, forget, self.sign * alpha), retain, forget)


def _mean(rows: RowLoss, chosen: Tensor, formulation: Formulation, world: World) -> Tensor:
    """Returns the mean loss of the chosen rows `(B,)` bool over the places that they divide by.

    Under data parallelism it is scaled by the number of processes, which undoes the averaging of
    gradients: its mean over processes is the term of the whole batch.
    """
    if formulation == "paper":
        counted = rows.places * chosen
    else:
        counted = rows.places if rows.released is None else rows.released
    places = world.sum(counted.sum()).clamp_min(torch.finfo(rows.total.dtype).tiny)
    return world.size * (rows.total * chosen).sum() / places


def shares(
    places: Tensor, forget: Tensor, formulation: Formulation, world: World
) -> tuple[Tensor, Tensor]:
    """Returns what the retain and the forget term divide by: two 0-d tensors.

    With those of a part of a batch, the part's terms can be weighed into the batch's.

    Args:
        places: `Method.places` of each row, `(B,)`.
        forget: `(B,)` bool.
        formulation: `released` divides both by the places of all rows.
        world: the processes that share the rows.
    """
    if formulation == "released":
        total = world.sum(places.sum())
        return total, total
    return world.sum((places * ~forget).sum()), world.sum((places * forget).sum())


def feature_distance(batch: LossBatch, targets: tuple[Tensor, ...]) -> RowLoss:
    """Returns the mean squared distance of each row's features to `targets`, summed over maps.

    `formulation="released"` multiplies it by the family's `released_feature_weight`.

    Args:
        batch: the student and its inputs.
        targets: `(B, ...)` each, as `CompletionModel.encoder_features` gives them.
    """
    features = batch.model.encoder_features(batch.inputs)
    distance = torch.stack(
        [(a - b).square().flatten(1).mean(dim=1) for a, b in zip(features, targets, strict=True)]
    ).sum(dim=0)
    released = batch.formulation == "released"
    weight = batch.model.released_feature_weight if released else 1.0
    return RowLoss(weight * distance, torch.ones_like(distance))


def where_rows(forget: Tensor, ours: Tensor, other: Tensor) -> Tensor:
    """Returns `ours` on forget rows and `other` elsewhere, both `(B, ...)`."""
    return torch.where(forget.view(-1, *[1] * (ours.ndim - 1)), ours, other)
