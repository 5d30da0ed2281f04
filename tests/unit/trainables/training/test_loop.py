"""The optimisation loop: parts of a batch, precision, blocks, progress that is put back."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.conformance.test_methods import THIN
from trainables.config import REFERENCES, ModelName, OptimiserConfig, TaskConfig, TrialConfig
from trainables.config.overrides import apply_overrides
from trainables.data.batches import Batches, Pool
from trainables.methods import METHODS, Terms
from trainables.models import MODELS, build_model
from trainables.models.checkpoints import save_weights
from trainables.models.mage import MAGE
from trainables.training.loop import Recipe, Running, train
from trainables.training.optimizer import TrainingState
from trainables.trial import _ease, in_bf16
from trainables.utils.errors import ConfigError

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
        _ease(student, config)
    seen: list[Terms] = []
    running = dataclasses.replace(
        running or Running(), on_step=lambda step, terms: seen.append(terms)
    )
    given = Recipe(
        method=METHODS[method],
        optimiser=OptimiserConfig(steps=steps, lr=1e-3, clip=1e9, warmup=0.0),
        tasks=(BRUSH if size.startswith("palette") else RANDOM,),
        seed=3,
        **recipe,
    )
    train(student, teacher, BATCHES, given, running)
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
    if method in EXACT:
        torch.testing.assert_close(parts.total, whole.total, rtol=1e-5, atol=1e-7)


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
    config = TrialConfig()
    assert in_bf16(config, torch.device("cuda"))
    assert not in_bf16(config, torch.device("cpu"))
    for precision, wanted in (("bf16", True), ("float32", False)):
        given = apply_overrides(config, {"unlearn.precision": precision})
        for device in ("cuda", "cpu"):
            assert in_bf16(given, torch.device(device)) is wanted


@pytest.mark.parametrize("size", SIZES)
def test_recomputed_blocks_train_bit_for_bit_alike(size: ModelName, tmp_path: Path) -> None:
    config = TrialConfig(model=size)
    plain = short(size, "noisy_label")
    eased = short(size, "noisy_label", config=apply_overrides(config, {"unlearn.recompute": True}))
    assert plain.weights.keys() == eased.weights.keys()
    for name, each in plain.weights.items():
        assert torch.equal(each, eased.weights[name]), name
    model = build_model(size, **THIN[MODELS[size][0]])
    _ease(model, apply_overrides(config, {"unlearn.recompute": True}))
    save_weights(model, tmp_path / "weights.safetensors")


def test_recomputing_keeps_fewer_activations() -> None:
    kept: list[int] = []
    for option in (False, True):
        model = build_model("mae_tiny")
        _ease(model, apply_overrides(TrialConfig(), {"unlearn.recompute": option}))
        sizes: list[int] = []

        def pack(value: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(value.numel())
            return value

        images = torch.rand(8, 3, 32, 32)
        inputs = model.prepare(images, RANDOM, torch.Generator().manual_seed(0))
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
        for parameter, moments in state.moments():
            assert {each.stride() for each in moments} <= {parameter.stride()}
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
