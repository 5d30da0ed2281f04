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
from trainables.models.base import BatchInputs, Masking, noise_images
from trainables.training.optimizer import StudentLoss
from trainables.utils.distributed import ALONE, World
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
    return model.prepare(images(rows), Masking(TASK, RowGenerators(range(rows), 3, "masks")))


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
    masks = RowGenerators(range(ROWS), 3, "masks")
    drawn = student.prepare(images(), Masking(TASK, masks, noise=wanted))
    with_all = METHODS[method].loss(student, teacher, inputs(student), forget, generator=noise())
    terms = METHODS[method].loss(student, teacher, drawn, forget, generator=noise())
    assert torch.equal(terms.total, with_all.total)


@pytest.mark.parametrize(("model", "method"), TRAINED_CASES)
def test_total_is_retain_plus_signed_alpha_forget(model: str, method: str) -> None:
    student, teacher = models(model)
    terms = METHODS[method].loss(
        student, teacher, inputs(student), forget_rows(5), alpha=0.3, generator=noise()
    )
    wanted = terms.retain + METHODS[method].sign * 0.3 * terms.forget
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
    # also a teacher that was not frozen gets no gradient
    teacher.requires_grad_(True)
    loss(teacher, inputs(student), forget_rows(5), generator=noise()).total.backward()
    reached = {name for name, p in student.named_parameters() if p.grad is not None}
    assert reached == moved
    # a parameter that no loss depends on would make data parallelism wait for ever
    assert all(float(p.grad.abs().max()) > 0 for p in student.parameters() if p.grad is not None)
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize(("model", "method"), TRAINED_CASES)
def test_a_step_leaves_frozen_parameters_bit_for_bit(model: str, method: str) -> None:
    student, teacher = models(model)
    before = copy.deepcopy(student.state_dict())
    loss = StudentLoss(student, METHODS[method])
    moved = moved_names(student, method)
    optimiser = torch.optim.AdamW(
        [p for p in loss.parameters() if p.requires_grad], lr=1e-3, weight_decay=0.1
    )
    loss(teacher, inputs(student), forget_rows(5), generator=noise()).total.backward()
    optimiser.step()
    for name, value in student.state_dict().items():
        assert torch.equal(value, before[name]) == (name not in moved), name


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
    assert (before - forget_term()) * METHODS[method].sign > 0


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
    torch.testing.assert_close(terms.total, METHODS[method].sign * 0.5 * terms.forget)


# --- By their formulas -----------------------------------------------------------------------


def test_one_method_trains_away_from_the_forget_rows() -> None:
    signs = {name: method.sign for name, method in METHODS.items()}
    assert signs == {
        **dict.fromkeys(TRAINED, 1),
        "max_loss": -1,
        **dict.fromkeys(REFERENCES, 0),
    }
    assert {name for name in TRAINED if METHODS[name].moves == "encoder"} == {
        "ours",
        "random_encoder",
    }


def distances(ours: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
    """Returns each row's mean squared error of every feature map, summed over maps."""
    return sum((a - b).square().flatten(1).mean(dim=1) for a, b in zip(ours, targets, strict=True))  # type: ignore[return-value]


@pytest.mark.parametrize("model", TINY)
@pytest.mark.parametrize("formulation", ["paper", "released"])
def test_encoder_methods_compare_features_with_what_they_name(model: str, formulation: Any) -> None:
    student, teacher = models(model)
    drawn, forget = inputs(student), forget_rows(5)
    with torch.no_grad():
        ours, seen = student.encoder_features(drawn), teacher.encoder_features(drawn)
        noisy = teacher.encoder_features(student.with_noise_images(drawn, forget, formulation))
        source = noise()
        gaussian = tuple(
            each.mean() + each.std(correction=0) * source.normal(*each.shape[1:]) for each in seen
        )
        wanted = {"ours": distances(ours, noisy), "random_encoder": distances(ours, gaussian)}
    weight = 2.0 if (formulation == "released" and model.startswith("mage")) else 1.0
    counts = (7, 5) if formulation == "paper" else (12, 12)
    for method, errors in wanted.items():
        with torch.no_grad():
            terms = METHODS[method].loss(
                student, teacher, drawn, forget, formulation=formulation, generator=noise()
            )
        retained = distances(ours, seen)[~forget].sum()
        torch.testing.assert_close(terms.retain, weight * retained / counts[0])
        torch.testing.assert_close(terms.forget, weight * errors[forget].sum() / counts[1])


@pytest.mark.parametrize("model", [name for name in TINY if not name.startswith("palette")])
def test_output_methods_compare_removed_places_with_what_they_name(model: str) -> None:
    student, teacher = models(model)
    drawn, forget = inputs(student), forget_rows(5)
    removed = drawn["mask" if "mask" in drawn else "all_mask"].float()
    with torch.no_grad():
        ours, theirs = student.output(drawn), teacher.output(drawn)
        labels = student.with_noise_labels(BatchInputs(drawn, forget, "paper", noise(), ALONE))
        # forget rows 7 to 11 are paired with the retain rows from 0
        paired = (ours - theirs[[*range(7), *range(5)]]).square().mean(dim=2)
        terms = {
            method: METHODS[method].loss(student, teacher, drawn, forget, generator=noise())
            for method in ("max_loss", "noisy_label", "retain_label", "original")
        }

    def task(given: Any) -> Tensor:
        if model.startswith("mae"):
            images = student.patchify(drawn["images"])  # type: ignore[operator]
            return (ours - given.get("target", images)).square().mean(dim=2)
        shares = ours.log_softmax(dim=2)
        true = shares.gather(2, given.get("target", drawn["tokens"]).unsqueeze(2)).squeeze(2)
        return -0.9 * true - 0.1 * shares.mean(dim=2)

    wanted = {
        "max_loss": task(drawn),
        "noisy_label": task(labels),
        "retain_label": paired,
        "original": task(drawn),
    }
    for method, errors in wanted.items():
        for rows, term in ((~forget, terms[method].retain), (forget, terms[method].forget)):
            mean = (errors * removed)[rows].sum() / removed[rows].sum()
            torch.testing.assert_close(term, mean)
    whole = (wanted["original"] * removed).sum() / removed.sum()
    torch.testing.assert_close(terms["original"].total, whole)


class Twins(World):
    """One of two processes, whose other holds the same rows."""

    def sum(self, value: Tensor) -> Tensor:
        return 2.0 * value.detach()


@pytest.mark.parametrize(("model", "method"), CASES)
@pytest.mark.parametrize("formulation", ["paper", "released"])
def test_terms_of_two_processes_average_to_the_batchs(
    model: str, method: str, formulation: Any
) -> None:
    student, teacher = models(model)
    drawn, forget = inputs(student), forget_rows(5)
    with torch.no_grad():
        alone, mine = (
            METHODS[method].loss(
                student,
                teacher,
                drawn,
                forget,
                formulation=formulation,
                generator=noise(),
                world=world,
            )
            for world in (ALONE, Twins(0, 2))
        )
    for name in ("total", "retain", "forget"):
        torch.testing.assert_close(getattr(mine, name), getattr(alone, name))


def test_noise_images_and_labels_have_the_batchs_mean_and_deviation() -> None:
    given = 0.4 + 0.2 * images()
    noisy = noise_images(given, forget_rows(5), noise(), ALONE)
    assert torch.equal(noisy[:7], given[:7])
    assert float(noisy[7:].mean()) == pytest.approx(float(given.mean()), rel=0.01)
    assert float(noisy[7:].std()) == pytest.approx(float(given.std()), rel=0.05)
    alone = noise_images(given, forget_rows(4), noise(), ALONE)
    assert torch.equal(alone[8:], noisy[8:])
    for name, key in (("mae_tiny", "images"), ("mage_tiny", "tokens")):
        student, _ = models(name)
        drawn = inputs(student)
        batch = BatchInputs(drawn, forget_rows(5), "paper", noise(), ALONE)
        target = student.with_noise_labels(batch)["target"]
        wanted, found = drawn[key].double(), target[7:].double()
        deviation = float(wanted.std())
        near = pytest.approx(float(wanted.mean()), abs=0.1 * deviation)
        assert float(found.mean()) == near
        # codes are cut to those that there are
        assert float(found.std()) == pytest.approx(deviation, rel=0.2)
