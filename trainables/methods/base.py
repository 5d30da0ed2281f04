"""What every unlearning method is: a loss over the rows of a batch, and what it may move.

Shared by all: the two terms are each the mean over their own rows and places,
L = L_retain + sign * alpha * L_forget, so that neither the share of forget rows in a batch nor the
number of processes changes a sample's weight. `formulation="released"` divides both by all rows of
the batch, as the released code does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from trainables.config import Formulation, MethodName
from trainables.models.base import CompletionModel, Inputs, RowLoss
from trainables.utils.distributed import ALONE, World
from trainables.utils.rng import RandomSource


@dataclass(frozen=True)
class Terms:
    """A loss and its parts, 0-d tensors.

    Attributes:
        total: what is minimised.
        retain, forget: the two terms before weighing, both 0 or more.
    """

    total: Tensor
    retain: Tensor
    forget: Tensor


class Loss(Protocol):
    """The signature of every method's loss."""

    def __call__(
        self,
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
        """The loss of a batch.

        Args:
            model: the student.
            teacher: the frozen original.
            inputs: what `model.prepare` drew.
            forget: `(B,)` bool, True on forget rows.
            alpha: weight of the forget term, 0 or more.
            formulation: `paper`, or the `released` code's constants.
            generator: draws that the method makes anew at each step.
            world: the processes that share the batch.
        """


Places = Callable[[CompletionModel, Inputs, Formulation], Tensor]


def one_a_row(model: CompletionModel, inputs: Inputs, formulation: Formulation) -> Tensor:
    """Ones `(B,)`: of losses whose rows count alike."""
    return torch.ones_like(model.output_places(inputs)[:, 0])


def compared_places(model: CompletionModel, inputs: Inputs, formulation: Formulation) -> Tensor:
    """Places `(B,)` at which each row's output is compared."""
    at = model.output_places if formulation == "paper" else model.released_places
    return at(inputs).sum(dim=1)


@dataclass(frozen=True, kw_only=True)
class Method:
    """A method.

    Attributes:
        name: its key in `METHODS`.
        loss: see `Loss`.
        moves: the parameters that it trains, or their names.
        forget_sign: +1 where the forget term is minimised, -1 where it is maximised, 0 where there
            is none.
        places: how many places of each row the terms divide by, `(B,)`, known before the loss.
        noise_images: whether it asks for the noise images of forget rows.
    """

    name: MethodName
    loss: Loss
    moves: Literal["encoder", "model"] | frozenset[str]
    forget_sign: Literal[-1, 0, 1] = 1
    places: Places = compared_places
    noise_images: bool = False


def weigh(
    rows: RowLoss,
    forget: Tensor,
    *,
    alpha: float,
    sign: int,
    formulation: Formulation,
    world: World,
) -> Terms:
    """Averages rows into the two terms and weighs them.

    Under data parallelism the terms are scaled by the number of processes, which undoes the
    averaging of gradients: their
    mean over processes is the term of the whole batch.

    Args:
        rows: losses `(B,)`.
        forget: `(B,)` bool.
        alpha: weight of the forget term.
        sign: of the forget term in the total.
        formulation: `paper` divides each term by its own places, `released` by all of them.
        world: the processes that share the batch.
    """
    retain = _term(rows, ~forget, formulation, world)
    forgotten = _term(rows, forget, formulation, world)
    return Terms(retain + sign * alpha * forgotten, retain, forgotten)


def _term(rows: RowLoss, chosen: Tensor, formulation: Formulation, world: World) -> Tensor:
    if formulation == "paper":
        counted = rows.places * chosen
    else:
        counted = rows.places if rows.released is None else rows.released
    places = world.sum(counted.sum()).clamp_min(torch.finfo(rows.total.dtype).tiny)
    return world.size * (rows.total * chosen).sum() / places


def shares(
    places: Tensor, forget: Tensor, formulation: Formulation, world: World
) -> tuple[Tensor, Tensor]:
    """What the two terms divide by, retain and forget: two 0-d tensors.

    With those of a part of a batch, the part's terms can be weighed into the batch's.

    Args:
        places: `Method.places` of each row, `(B,)`.
        forget: `(B,)` bool.
        formulation: as in `weigh`.
        world: the processes that share the rows.
    """
    if formulation == "released":
        total = world.sum(places.sum())
        return total, total
    return world.sum((places * ~forget).sum()), world.sum((places * forget).sum())


def feature_distance(
    model: CompletionModel, inputs: Inputs, targets: tuple[Tensor, ...], formulation: Formulation
) -> RowLoss:
    """Mean squared distance of each row's features to `targets` `(B, ...)`, summed over maps.

    `formulation="released"` multiplies it by the family's `released_feature_weight`.
    """
    ours = model.encoder_features(inputs)
    distance = torch.stack(
        [(a - b).square().flatten(1).mean(dim=1) for a, b in zip(ours, targets, strict=True)]
    ).sum(dim=0)
    weight = model.released_feature_weight if formulation == "released" else 1.0
    return RowLoss(weight * distance, torch.ones_like(distance))


def where_rows(forget: Tensor, ours: Tensor, other: Tensor) -> Tensor:
    """`ours` on forget rows, `other` elsewhere; both `(B, ...)`."""
    return torch.where(forget.view(-1, *[1] * (ours.ndim - 1)), ours, other)
