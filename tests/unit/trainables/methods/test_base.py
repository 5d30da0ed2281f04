"""The contract of a method: how rows become terms, and terms a total."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch
from torch import Tensor

from tests.conformance.test_methods import forget_rows, inputs, models, noise
from trainables.config import DEFAULT_ALPHA, TrialConfig
from trainables.methods import METHODS, LossBatch, Method, Terms
from trainables.models.base import RowLoss

FORGET = torch.tensor([False, False, True, True])
# one place in each row but for the last, which has three; the released code divides by two a row
ROWS = RowLoss(
    torch.tensor([1.0, 3.0, 5.0, 9.0]),
    torch.tensor([1.0, 1.0, 1.0, 3.0]),
    torch.full((4,), 2.0),
)


def given(batch: LossBatch) -> RowLoss:
    return ROWS


def terms_of(method: Method, alpha: float = 0.5, **options: str) -> tuple[float, float, float]:
    model, _ = models("mae_tiny")
    terms = method.loss(model, model, {}, FORGET, alpha=alpha, **options)  # type: ignore[arg-type]
    return float(terms.total), float(terms.retain), float(terms.forget)


@pytest.mark.parametrize("sign", [1, -1])
def test_each_term_is_the_mean_over_its_own_places(sign: int) -> None:
    method = Method(name="ours", rows=given, moves="model", sign=sign)  # type: ignore[arg-type]
    assert terms_of(method) == (2.0 + sign * 0.5 * 3.5, 2.0, 3.5)


def test_the_released_form_divides_both_terms_by_all_rows() -> None:
    method = Method(name="ours", rows=given, moves="model")
    assert terms_of(method, formulation="released") == (0.5 + 0.5 * 1.75, 0.5, 1.75)


@pytest.mark.parametrize("formulation", ["paper", "released"])
def test_without_a_forget_term_the_total_is_the_mean_over_all_rows(formulation: str) -> None:
    method = Method(name="original", rows=given, moves="model", sign=0)
    assert terms_of(method, formulation=formulation) == (3.0, 2.0, 3.5)


def test_a_method_may_combine_its_terms_otherwise() -> None:
    def larger(retain: Tensor, forget: Tensor, weight: float) -> Tensor:
        return torch.maximum(retain, weight * forget)

    method = Method(name="ours", rows=given, moves="model", combine=larger)
    assert terms_of(method, alpha=0.5) == (2.0, 2.0, 3.5)
    assert terms_of(method, alpha=2.0) == (7.0, 2.0, 3.5)
    against = dataclasses.replace(method, sign=-1)
    assert terms_of(against, alpha=2.0) == (2.0, 2.0, 3.5)


def test_rows_get_all_that_the_loss_was_given() -> None:
    seen: list[LossBatch] = []

    def keep(batch: LossBatch) -> RowLoss:
        seen.append(batch)
        return ROWS

    student, teacher = models("mae_tiny")
    drawn, source = inputs(student), noise()
    method = Method(name="ours", rows=keep, moves="model")
    method.loss(student, teacher, drawn, FORGET, formulation="released", generator=source)
    (batch,) = seen
    assert (batch.model, batch.teacher, batch.inputs) == (student, teacher, drawn)
    assert (batch.forget, batch.generator) == (FORGET, source)
    assert (batch.alpha, batch.formulation) == (DEFAULT_ALPHA, "released")
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.alpha = 1.0  # type: ignore[misc]


def test_the_loss_is_called_by_these_names_and_defaults() -> None:
    parameters = inspect.signature(METHODS["ours"].loss).parameters
    assert list(parameters) == [
        *("model", "teacher", "inputs", "forget"),
        *("alpha", "formulation", "generator", "world"),
    ]
    assert parameters["alpha"].default == TrialConfig().forget_alpha == DEFAULT_ALPHA == 0.25
    assert parameters["formulation"].default == TrialConfig().formulation == "paper"
    student, teacher = models("mae_tiny")
    terms = METHODS["ours"].loss(student, teacher, inputs(student), forget_rows(5))
    assert isinstance(terms, Terms)
    torch.testing.assert_close(terms.total, terms.retain + 0.25 * terms.forget)
