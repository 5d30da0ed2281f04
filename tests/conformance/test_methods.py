"""What every method must be on every model: one suite over the product."""

from __future__ import annotations

import copy
import itertools
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from trainables.config import REFERENCES, OptimiserConfig, TaskConfig, TaskKind
from trainables.methods import METHODS
from trainables.models import MODELS, CompletionModel, build_model
from trainables.training.optimizer import StudentLoss
from trainables.utils.rng import RowGenerators

TRAINED = [name for name in METHODS if name not in REFERENCES]
# full sizes are the same code with larger numbers
# the tiny one predicts the velocity, the published form of the family the noise
TINY = [*(name for name in MODELS if name.endswith("_tiny")), "palette"]
CASES = list(itertools.product(TINY, METHODS))
TRAINED_CASES = list(itertools.product(TINY, TRAINED))
TASK = TaskConfig(kind="random", ratio=0.5)
ROWS = 12
_THIN = {
    "image_size": 32,
    "embed_dim": 32,
    "depth": 2,
    "num_heads": 2,
    "decoder_embed_dim": 32,
    "decoder_depth": 1,
    "decoder_num_heads": 2,
}
# options over those of every size of a family, where it needs them for the suite to take seconds
THIN: dict[str, dict[str, Any]] = {
    "mae": {**_THIN, "patch_size": 4},
    "mage": {
        **_THIN,
        "tokenizer": {
            "channels": 8,
            "channel_multipliers": (1, 1, 2),
            "res_blocks": 1,
            "latent_channels": 8,
            "codebook_size": 64,
            "groups": 2,
        },
        "decoding_steps": 6,
    },
    "palette": {
        "image_size": 32,
        "inner_channels": 8,
        "channel_multipliers": (1, 1, 2),
        "attention_rates": (4,),
        "head_channels": 8,
        "norm_groups": 4,
        "steps": 4,
    },
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def models(name: str) -> tuple[CompletionModel, CompletionModel]:
    """A student a little way from its teacher, so that no loss is zero."""
    torch.manual_seed(1)
    teacher = build_model(name, **THIN.get(MODELS.get(name, (name,))[0], {})).eval()
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        for parameter in student.parameters():
            if parameter.ndim > 1 and parameter.requires_grad:
                parameter.add_(0.01 * torch.randn_like(parameter))
    return student, teacher.requires_grad_(False)


def images(rows: int = ROWS) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand(rows, 3, 8, 8, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=32, mode="bilinear").clamp(0, 1)


def forget_rows(count: int, rows: int = ROWS) -> Tensor:
    return torch.arange(rows) >= rows - count


def inputs(model: CompletionModel, rows: int = ROWS) -> dict[str, Tensor]:
    return model.prepare(images(rows), TASK, RowGenerators(range(rows), 3, "masks"))


def noise(rows: int = ROWS) -> RowGenerators:
    return RowGenerators(range(rows), 3, "noise")


def moved_names(model: CompletionModel, method: str) -> set[str]:
    if METHODS[method].moves == "encoder":
        return set(model.encoder_names())
    return {name for name, each in model.named_parameters() if each.requires_grad}


@pytest.mark.parametrize(("model", "method"), CASES)
@pytest.mark.parametrize("formulation", ["paper", "released"])
def test_loss_is_finite_and_its_terms_are_not_negative(
    model: str, method: str, formulation: str
) -> None:
    student, teacher = models(model)
    terms = METHODS[method].loss(
        student,
        teacher,
        inputs(student),
        forget_rows(5),
        formulation=formulation,
        generator=noise(),
    )
    for term in (terms.total, terms.retain, terms.forget):
        assert term.ndim == 0
        assert bool(torch.isfinite(term))
    assert float(terms.retain.detach()) > 0.0
    assert float(terms.forget.detach()) > 0.0


@pytest.mark.parametrize(("model", "method"), TRAINED_CASES)
def test_only_a_method_that_asks_for_noise_images_needs_them(model: str, method: str) -> None:
    student, teacher = models(model)
    forget = forget_rows(5)
    wanted = forget if METHODS[method].noise_images else False
    drawn = student.prepare(images(), TASK, RowGenerators(range(ROWS), 3, "masks"), noise=wanted)
    with_all = METHODS[method].loss(student, teacher, inputs(student), forget, generator=noise())
    terms = METHODS[method].loss(student, teacher, drawn, forget, generator=noise())
    assert torch.equal(terms.total, with_all.total)


@pytest.mark.parametrize(("model", "method"), TRAINED_CASES)
def test_total_is_retain_plus_signed_alpha_forget(model: str, method: str) -> None:
    student, teacher = models(model)
    terms = METHODS[method].loss(
        student, teacher, inputs(student), forget_rows(5), alpha=0.3, generator=noise()
    )
    wanted = terms.retain + METHODS[method].forget_sign * 0.3 * terms.forget
    torch.testing.assert_close(terms.total, wanted)
    alone = METHODS[method].loss(
        student, teacher, inputs(student), forget_rows(5), alpha=0.0, generator=noise()
    )
    torch.testing.assert_close(alone.total, alone.retain)


@pytest.mark.parametrize(("model", "method"), TRAINED_CASES)
def test_gradients_reach_what_the_method_moves_and_nothing_else(model: str, method: str) -> None:
    student, teacher = models(model)
    loss = StudentLoss(student, METHODS[method])
    moved = moved_names(student, method)
    loss(teacher, inputs(student), forget_rows(5), generator=noise()).total.backward()
    reached = {name for name, p in student.named_parameters() if p.grad is not None}
    assert reached == moved
    # a parameter that no loss depends on would make data parallelism wait for ever
    assert all(float(p.grad.abs().max()) > 0 for p in student.parameters() if p.grad is not None)
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize(("model", "method"), TRAINED_CASES)
def test_a_step_leaves_teacher_and_frozen_parameters_bit_for_bit(model: str, method: str) -> None:
    student, teacher = models(model)
    before = copy.deepcopy(student.state_dict())
    kept = copy.deepcopy(teacher.state_dict())
    loss = StudentLoss(student, METHODS[method])
    moved = moved_names(student, method)
    optimiser = torch.optim.AdamW(
        [p for p in loss.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.1
    )
    loss(teacher, inputs(student), forget_rows(5), generator=noise()).total.backward()
    optimiser.step()
    for name, value in student.state_dict().items():
        assert torch.equal(value, before[name]) == (name not in moved), name
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, kept[name]), name


@pytest.mark.parametrize(("model", "method"), TRAINED_CASES)
def test_steps_move_the_forget_term_the_right_way(model: str, method: str) -> None:
    student, teacher = models(model)
    loss = StudentLoss(student, METHODS[method])
    optimiser = torch.optim.AdamW([p for p in loss.parameters() if p.requires_grad], lr=1e-3)
    drawn = inputs(student)

    def forget_term() -> float:
        with torch.no_grad():
            terms = loss(teacher, drawn, forget_rows(5), alpha=100.0, generator=noise())
        return float(terms.forget)

    before = forget_term()
    for _ in range(5):
        optimiser.zero_grad()
        loss(teacher, drawn, forget_rows(5), alpha=100.0, generator=noise()).total.backward()
        optimiser.step()
    assert (before - forget_term()) * METHODS[method].forget_sign > 0


@pytest.mark.parametrize(("model", "method"), TRAINED_CASES)
def test_a_samples_weight_does_not_depend_on_the_other_kinds_number(
    model: str, method: str
) -> None:
    """Doubling the retain rows by repeating them leaves both terms what they were."""
    student, teacher = models(model)
    drawn = inputs(student)
    forget = forget_rows(4)
    twice = torch.cat([torch.arange(8), torch.arange(8), torch.arange(8, ROWS)])
    repeated = {name: each[twice] for name, each in drawn.items()}
    few = METHODS[method].loss(student, teacher, drawn, forget, generator=noise())
    # rows keep the noise they were keyed by; what the batch's mean and deviation give differs
    many = METHODS[method].loss(
        student,
        teacher,
        repeated,
        forget[twice],
        generator=RowGenerators(twice.tolist(), 3, "noise"),
    )
    torch.testing.assert_close(few.retain, many.retain, rtol=1e-4, atol=1e-6)
    # the statistics of the doubled batch move the drawn noise a little, never by the row count
    torch.testing.assert_close(few.forget, many.forget, rtol=0.25, atol=1e-6)


@pytest.mark.parametrize(("model", "method"), TRAINED_CASES)
def test_same_seed_gives_the_same_weights(model: str, method: str) -> None:
    def trained(elsewhere: int) -> dict[str, Tensor]:
        student, teacher = models(model)
        # what a method draws is drawn from the generator that it is given
        torch.manual_seed(elsewhere)
        loss = StudentLoss(student, METHODS[method])
        options = OptimiserConfig(steps=3)
        optimiser = torch.optim.AdamW(
            [p for p in loss.parameters() if p.requires_grad], lr=options.lr
        )
        for _ in range(options.steps):
            optimiser.zero_grad()
            loss(teacher, inputs(student), forget_rows(5), generator=noise()).total.backward()
            optimiser.step()
        return dict(student.state_dict())

    first, second = trained(1), trained(2)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("model", TINY)
@pytest.mark.parametrize("kind", get_args(TaskKind))
def test_no_pixel_of_the_hole_reaches_a_completion(model: str, kind: TaskKind) -> None:
    student, _ = models(model)
    student.eval()
    rows = 3
    task = TaskConfig(kind=kind, ratio=0.4)
    truth = images(rows)
    hole = student.hole(rows, task, RowGenerators(range(rows), 5))
    assert bool(hole.any())
    assert not bool(hole.all())
    spoiled = torch.where(hole, 1.0 - truth, truth)
    with torch.inference_mode():
        ours = student.complete(truth, task, RowGenerators(range(rows), 5))
        other = student.complete(spoiled, task, RowGenerators(range(rows), 5))
    assert torch.equal(ours, other)
    changeable = hole.float()
    for _ in range(student.rim):
        changeable = torch.nn.functional.max_pool2d(changeable, 3, stride=1, padding=1)
    # patches anywhere leave no pixel far from all of them
    assert kind == "random" or float(changeable.min()) == 0.0
    assert torch.equal(ours * (1 - changeable), truth * (1 - changeable))
    assert not torch.equal(torch.where(hole, ours, 0.0), torch.where(hole, truth, 0.0))
    assert float(ours.min()) >= 0.0
    assert float(ours.max()) <= 1.0


@pytest.mark.parametrize("model", TINY)
def test_a_completion_does_not_depend_on_its_batch(model: str) -> None:
    student, _ = models(model)
    student.eval()
    task = TaskConfig(kind="random", ratio=0.5)
    with torch.inference_mode():
        together = student.complete(images(), task, RowGenerators(range(ROWS), 5))
        alone = student.complete(images()[4:5], task, RowGenerators([4], 5))
    torch.testing.assert_close(together[4:5], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("model", "method"), TRAINED_CASES)
def test_with_no_retain_rows_the_loss_is_the_forget_term(model: str, method: str) -> None:
    student, teacher = models(model)
    everything = torch.ones(ROWS, dtype=torch.bool)
    arguments = (student, teacher, inputs(student), everything)
    if method == "retain_label":
        with pytest.raises(ValueError, match="retain row"):
            METHODS[method].loss(*arguments)
        return
    terms = METHODS[method].loss(*arguments, alpha=0.5, generator=noise())
    assert float(terms.retain.detach()) == 0.0
    torch.testing.assert_close(terms.total, METHODS[method].forget_sign * 0.5 * terms.forget)
