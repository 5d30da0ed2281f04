"""The optimisation loop: parts of a batch, precision, blocks, progress that is put back."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.conformance.test_methods import THIN
from trainables.config import (
    REFERENCES,
    ModelName,
    OptimiserConfig,
    TaskConfig,
    TrialConfig,
    UnlearnConfig,
)
from trainables.config.overrides import apply_overrides
from trainables.data.batches import Batches, Pool
from trainables.methods import METHODS, Terms
from trainables.methods.base import LossBatch
from trainables.models import MODELS, build_model
from trainables.models.base import Masking, RowLoss
from trainables.models.checkpoints import save_weights
from trainables.models.mage import MAGE
from trainables.training.loop import Recipe, Running, ease_blocks, in_bf16, train
from trainables.training.optimizer import TrainingState, adamw
from trainables.utils.distributed import World
from trainables.utils.errors import ConfigError
from trainables.utils.rng import RowGenerators

SIZES: tuple[ModelName, ...] = ("mae_tiny", "mage_tiny", "palette_tiny")
TRAINED = [name for name in METHODS if name not in REFERENCES]
RANDOM = TaskConfig(kind="random", ratio=0.5)
BRUSH = TaskConfig(kind="brush", ratio=0.3)  # holes of unlike sizes


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


class Drawn:
    """Smooth images in place of a data set."""

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        parts = [torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(int(r))) for r in rows]
        return torch.stack(parts)

    def expand(self, compact: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(compact, size=32, mode="bilinear").clamp(0, 1)


BATCHES = Batches(
    Drawn(),
    (
        Pool(np.arange(0, 20), 8, False, "retain"),
        Pool(np.arange(20, 40), 4, True, "forget"),
    ),
    seed=5,
)


@dataclass
class Run:
    """What a short training left."""

    weights: dict[str, Tensor]
    terms: list[Terms]


def short(
    size: str,
    method: str,
    *,
    steps: int = 3,
    config: TrialConfig | None = None,
    running: Running | None = None,
    optimiser: Mapping[str, Any] | None = None,
    tasks: tuple[TaskConfig, ...] = (),
    **recipe: Any,
) -> Run:
    torch.manual_seed(1)
    teacher = build_model(size, **THIN[MODELS[size][0]]).eval()
    student = copy.deepcopy(teacher)
    with torch.no_grad():
        for parameter in student.parameters():
            if parameter.ndim > 1 and parameter.requires_grad:
                parameter.add_(0.01 * torch.randn_like(parameter))
    teacher.requires_grad_(False)
    if config is not None:
        ease_blocks(student, config.unlearn)
    seen: list[Terms] = []
    running = dataclasses.replace(
        running or Running(), on_step=lambda step, terms: seen.append(terms)
    )
    given = Recipe(
        method=METHODS[method],
        optimiser=OptimiserConfig(
            **{"steps": steps, "lr": 1e-3, "clip": 1e9, "warmup": 0.0, **(optimiser or {})}
        ),
        tasks=tasks or (BRUSH if size.startswith("palette") else RANDOM,),
        seed=3,
        **recipe,
    )
    train(student, teacher, BATCHES, given, running)
    assert not student.training
    return Run(dict(student.state_dict()), seen)


def distance(one: Run, other: Run) -> float:
    """Between the weights of two runs."""
    apart = sum((one.weights[n] - other.weights[n]).square().sum() for n in one.weights)
    return float(apart.sqrt())


# the others take moments over a part of the batch, or pair its rows
EXACT = ("max_loss", "ours")


@pytest.mark.parametrize("formulation", ["paper", "released"])
@pytest.mark.parametrize("method", TRAINED)
@pytest.mark.parametrize("size", SIZES)
def test_a_batch_in_parts_has_the_batchs_loss(size: str, method: str, formulation: Any) -> None:
    (whole,) = short(size, method, steps=1, formulation=formulation).terms
    (parts,) = short(size, method, steps=1, formulation=formulation, accumulate=4).terms
    torch.testing.assert_close(parts.retain, whole.retain, rtol=1e-5, atol=1e-7)
    near = {"rtol": 1e-5, "atol": 1e-7} if method in EXACT else {"rtol": 0.3, "atol": 0.0}
    torch.testing.assert_close(parts.forget, whole.forget, **near)
    signed = METHODS[method].sign * Recipe.alpha
    torch.testing.assert_close(parts.total, parts.retain + signed * parts.forget)
    torch.testing.assert_close(whole.total, whole.retain + signed * whole.forget)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("method", EXACT)
@pytest.mark.parametrize("formulation", ["paper", "released"])
def test_the_gradient_in_parts_is_the_batchs(
    size: str, method: str, formulation: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[list[Tensor]] = []
    clip = torch.nn.utils.clip_grad_norm_

    def keep(parameters: list[Tensor], largest: float) -> Tensor:
        norms.append([each.grad.clone() for each in parameters if each.grad is not None])
        return clip(parameters, largest)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", keep)
    for accumulate in (1, 2):
        short(size, method, steps=1, formulation=formulation, accumulate=accumulate)
    assert len(norms[0]) == len(norms[1])
    scale = max(float(each.abs().max()) for each in norms[0])
    for whole, parts in zip(*norms, strict=True):
        torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-5 * scale)


@pytest.mark.parametrize("method", TRAINED)
@pytest.mark.parametrize("size", SIZES)
def test_bf16_is_near_float32_and_leaves_weights_in_it(size: str, method: str) -> None:
    exact = short(size, method, steps=1)
    rough = short(size, method, steps=1, running=Running(bf16=True))
    assert float(rough.terms[0].total) != float(exact.terms[0].total)
    torch.testing.assert_close(rough.terms[0].total, exact.terms[0].total, rtol=0.05, atol=1e-3)
    assert rough.terms[0].total.dtype == torch.float32
    assert all(each.dtype == exact.weights[name].dtype for name, each in rough.weights.items())


def test_auto_precision_is_bf16_on_a_gpu_alone() -> None:
    assert in_bf16(UnlearnConfig(), torch.device("cuda"))
    assert not in_bf16(UnlearnConfig(), torch.device("cpu"))
    for precision, wanted in (("bf16", True), ("float32", False)):
        for device in ("cuda", "cpu"):
            assert in_bf16(UnlearnConfig(precision=precision), torch.device(device)) is wanted


@pytest.mark.parametrize("size", SIZES)
def test_recomputed_blocks_train_bit_for_bit_alike(size: ModelName, tmp_path: Path) -> None:
    config = TrialConfig(model=size)
    plain = short(size, "noisy_label")
    eased = short(size, "noisy_label", config=apply_overrides(config, {"unlearn.recompute": True}))
    assert plain.weights.keys() == eased.weights.keys()
    for name, each in plain.weights.items():
        assert torch.equal(each, eased.weights[name]), name
    model = build_model(size, **THIN[MODELS[size][0]])
    ease_blocks(model, apply_overrides(config, {"unlearn.recompute": True}).unlearn)
    save_weights(model, tmp_path / "weights.safetensors")


def test_recomputing_keeps_fewer_activations() -> None:
    kept: list[int] = []
    for option in (False, True):
        model = build_model("mae_tiny")
        ease_blocks(model, UnlearnConfig(recompute=option))
        sizes: list[int] = []

        def pack(value: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(value.numel())
            return value

        images = torch.rand(8, 3, 32, 32)
        inputs = model.prepare(images, Masking(RANDOM, torch.Generator().manual_seed(0)))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            model.task_loss(inputs).total.sum()
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 3


# torch's compiler looks at the gradients of what it traces
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.slow
def test_compiled_blocks_train_alike() -> None:
    plain = short("mae_tiny", "ours")
    config = apply_overrides(TrialConfig(), {"unlearn.compile": True})
    fast = short("mae_tiny", "ours", config=config)
    moved = short("mae_tiny", "ours", steps=1)
    assert distance(plain, fast) < 0.01 * distance(plain, moved)


def test_progress_goes_on_to_the_same_weights() -> None:
    saved: dict[str, Tensor] = {}

    def keep(step: int, state: TrainingState) -> None:
        if step == 2:
            saved.update({name: each.clone() for name, each in state.tensors().items()})

    def begin(state: TrainingState) -> int:
        state.restore(saved)
        return 2

    unbroken = short("mae_tiny", "ours", steps=5, running=Running(keep=keep))
    resumed = short("mae_tiny", "ours", steps=5, running=Running(begin=begin))
    assert len(resumed.terms) == 3
    for name, each in unbroken.weights.items():
        assert torch.equal(each, resumed.weights[name]), name


def test_rows_that_cannot_be_cut_evenly_are_refused() -> None:
    with pytest.raises(ConfigError, match="8 and 4 retain and forget rows cannot be cut into 8"):
        short("mae_tiny", "ours", steps=1, accumulate=8)


@pytest.mark.parametrize("size", SIZES)
def test_progress_is_put_back_in_the_memory_format_of_the_weights(size: str) -> None:
    """A fused step on a GPU refuses any other."""
    kept: dict[str, Tensor] = {}

    def keep(step: int, state: TrainingState) -> None:
        kept.update({name: each.contiguous() for name, each in state.tensors().items()})

    def begin(state: TrainingState) -> int:
        state.restore(kept)
        optimiser = state._optimiser
        for parameter, moments in optimiser.state.items():
            strides = {moments[name].stride() for name in ("exp_avg", "exp_avg_sq")}
            assert strides == {parameter.stride()}
        return 1

    short(size, "max_loss", steps=1, running=Running(keep=keep))
    resumed = short(size, "max_loss", steps=2, running=Running(begin=begin))
    assert len(resumed.terms) == 1


def test_only_the_methods_that_ask_get_noise_images(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = MAGE.prepare
    asked: list[bool] = []

    def spy(self: MAGE, *args: Any) -> dict[str, Tensor]:
        drawn = plain(self, *args)
        asked.append("noise_tokens" in drawn)
        return drawn

    monkeypatch.setattr(MAGE, "prepare", spy)
    for method in TRAINED:
        short("mage_tiny", method, steps=1)
    assert [method for method, given in zip(TRAINED, asked, strict=True) if given] == ["ours"]


# --- What a step does ------------------------------------------------------------------------


def test_a_step_is_as_long_as_the_clipped_gradient_times_the_steps_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Plain descent moves the weights by rate times gradient, and the gradient has length 0.01."""

    def descent(module: nn.Module, *_: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=1.0)

    monkeypatch.setattr("trainables.training.loop.adamw", descent)
    met: list[dict[str, Tensor]] = []

    def keep(step: int, state: TrainingState) -> None:
        met.append({name: each.clone() for name, each in state.tensors().items()})

    running = Running(keep=keep)
    # four steps of warm-up to 1, then half a cosine: 1 and 0.5
    options = {"lr": 1.0, "clip": 0.01, "warmup": 2 / 3}
    short("mae_tiny", "ours", steps=6, running=running, optimiser=options)
    lengths = [
        float(sum((after[name] - before[name]).square().sum() for name in before).sqrt())
        for before, after in itertools.pairwise(met)
    ]
    assert lengths == pytest.approx([0.005, 0.0075, 0.01, 0.01, 0.005], rel=1e-3)


def test_adamw_decays_matrices_alone_and_takes_its_own_options() -> None:
    module = nn.Linear(2, 3)
    options = OptimiserConfig(steps=1, lr=0.5, weight_decay=0.1, beta1=0.6, beta2=0.7)
    optimiser = adamw(module, options, torch.device("cpu"))
    before = {name: each.detach().clone() for name, each in module.named_parameters()}
    for each in module.parameters():
        each.grad = torch.zeros_like(each)
    optimiser.step()
    torch.testing.assert_close(module.weight, before["weight"] * (1.0 - 0.5 * 0.1))
    assert torch.equal(module.bias, before["bias"])
    assert {group["betas"] for group in optimiser.param_groups} == {(0.6, 0.7)}


@dataclass
class Drawing:
    """What a method was given at one step."""

    inputs: dict[str, Tensor]
    noise: Tensor
    alpha: float
    training: bool


def drawings(monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[Drawing]:
    """What `ours` on MAGE is given at each step of a short training."""
    ours = METHODS["ours"]
    met: list[Drawing] = []

    def spy(batch: LossBatch) -> RowLoss:
        assert isinstance(batch.generator, RowGenerators)
        noise = batch.generator.normal(8)
        met.append(Drawing(dict(batch.inputs), noise, batch.alpha, batch.model.training))
        return ours.rows(batch)

    monkeypatch.setitem(METHODS, "ours", dataclasses.replace(ours, rows=spy))
    short("mage_tiny", "ours", **options)
    monkeypatch.setitem(METHODS, "ours", ours)
    return met


def test_every_step_and_row_has_draws_of_its_own_and_a_seed_repeats_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = drawings(monkeypatch, steps=2)
    assert len(torch.unique(torch.cat([first.noise, second.noise]), dim=0)) == 24
    masks = torch.cat([each.inputs["drop_mask"] for each in (first, second)])
    assert len(torch.unique(masks, dim=0)) == 24
    again, _ = drawings(monkeypatch, steps=2)
    assert torch.equal(again.noise, first.noise)
    assert torch.equal(again.inputs["drop_mask"], first.inputs["drop_mask"])
    # what a method draws is not what its masks were drawn from
    masks_source = RowGenerators(range(12), 3, "masks", 0)
    assert not torch.equal(first.noise, masks_source.normal(8))


def test_a_bank_gives_other_noise_images_at_every_step_and_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bank = {"noise_tokens": torch.arange(1000)[:, None].expand(-1, 64)}
    monkeypatch.setattr(MAGE, "with_noise_images", lambda self, inputs, *_: inputs)
    steps = drawings(monkeypatch, steps=2, noise_bank=bank)
    chosen = [set(each.inputs["noise_tokens"][:, 0].tolist()) for each in steps]
    assert min(map(len, chosen)) > 9
    assert len(chosen[0] & chosen[1]) < 3


def test_tasks_take_turns_and_alpha_reaches_the_method(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = (TaskConfig(kind="left", ratio=0.5), TaskConfig(kind="right", ratio=0.5))
    steps = drawings(monkeypatch, steps=3, tasks=tasks, alpha=0.7)
    side = [each.inputs["all_mask"].view(12, -1)[0] for each in steps]
    assert bool(side[0][0])
    assert not bool(side[1][0])
    assert torch.equal(side[0], side[2])
    assert [each.alpha for each in steps] == [0.7] * 3
    assert all(each.training for each in steps)


# --- Rows of a batch -------------------------------------------------------------------------


class Numbers:
    """Rows and views themselves in place of images."""

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.stack([rows, views], axis=1))

    def expand(self, compact: Tensor) -> Tensor:
        return compact


def test_processes_share_the_rows_that_one_would_draw() -> None:
    whole = dataclasses.replace(BATCHES, reader=Numbers()).at(3)
    assert whole.forget.tolist() == [False] * 8 + [True] * 4
    assert bool(((whole.content[:, 0] >= 20) == whole.forget).all())
    for rank, places in ((0, [0, 1, 2, 3, 8, 9]), (1, [4, 5, 6, 7, 10, 11])):
        mine = dataclasses.replace(BATCHES, reader=Numbers(), world=World(rank, 2)).at(3)
        assert list(mine.places) == places
        assert torch.equal(mine.content, whole.content[places])
        assert torch.equal(mine.forget, whole.forget[places])


def test_every_row_comes_once_an_epoch_in_an_order_of_its_own() -> None:
    pool = Pool(np.arange(10, 20), 4, False, "retain")
    drawn = [pool.draw_views(5, step) for step in range(5)]
    rows, views = (np.concatenate(each) for each in zip(*drawn, strict=True))
    assert views.tolist() == [0] * 10 + [1] * 10
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10, 20))
    assert rows[:10].tolist() != rows[10:].tolist()
    others = (pool.draw(6, 0), dataclasses.replace(pool, name="proxy").draw(5, 0))
    assert all(other.tolist() != rows[:4].tolist() for other in others)


def test_a_mask_is_a_factor_on_the_gradient_made_before_earlier_steps_are_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Tensor] = {}
    begun: dict[str, Tensor] = {}

    def mask(name: str, parameter: Tensor) -> Tensor:
        asked[name] = parameter.detach().clone()
        if name.endswith("bias"):
            return torch.zeros(())
        return (torch.arange(len(parameter)) < 2).float().view(-1, *[1] * (parameter.ndim - 1))

    def begin(state: TrainingState) -> int:
        halved = {name: each * 0.5 for name, each in state.tensors().items()}
        begun.update({name.removeprefix("weights/"): each for name, each in halved.items()})
        state.restore(halved)
        return 0

    monkeypatch.setitem(METHODS, "ours", dataclasses.replace(METHODS["ours"], mask=mask))
    after = short(
        "mae_tiny", "ours", running=Running(begin=begin), optimiser={"weight_decay": 0.0}
    ).weights
    assert asked.keys() == begun.keys()
    for name, each in asked.items():
        assert torch.equal(each * 0.5, begun[name]), name
        moved = after[name] != begun[name]
        assert not bool((moved if name.endswith("bias") else moved[2:]).any()), name
        assert bool(moved.any()) is not name.endswith("bias"), name


def test_a_method_without_a_mask_for_a_parameter_moves_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = short("mae_tiny", "ours")
    unmasked = dataclasses.replace(METHODS["ours"], mask=lambda name, parameter: None)
    monkeypatch.setitem(METHODS, "ours", unmasked)
    assert distance(plain, short("mae_tiny", "ours")) == 0.0


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("original", {"accumulate": 2}),
        ("ours", {"accumulate": 2}),
        ("ours", {"running": Running(world=World(0, 2))}),
    ],
)
def test_parts_of_a_batch_are_refused_where_their_totals_do_not_add_up(
    method: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    crossed = dataclasses.replace(METHODS["ours"], combine=lambda retain, forget, weight: retain)
    monkeypatch.setitem(METHODS, "ours", crossed)
    with pytest.raises(ConfigError, match=f"{method} needs whole batches: one worker"):
        short("mae_tiny", method, **options)
