"""A step of MAGE's unlearning against a plain formulation of the same step.

    python -m benchmarks.unlearning
    python -m benchmarks.unlearning --quick    # does it run? Its figures mean nothing

At the width of ViT-B, with fresh weights, on one thread. `plain` tokenises the student's images,
the teacher's, and noise for every row, and runs the whole teacher on images and on noise, as the
released code does. `structure` is the product's step as it is; `noise bank` draws noise that was
tokenised once; `token cache` reads the images' tokens too. All four train the same weights by the
same loss. The ratios are within one run: the four take turns, and medians are told.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks._measuring import synchronise
from trainables.config import OptimiserConfig, TaskConfig
from trainables.data.batches import Batches, Pool, RowReader
from trainables.methods import METHODS
from trainables.models import build_model
from trainables.models.base import Masking
from trainables.models.mage import MAGE
from trainables.shared.tokens import CachedTokens, RoleTokens
from trainables.training.loop import Recipe, Running, train
from trainables.training.optimizer import StudentLoss, adamw
from trainables.utils.rng import RowGenerators

_ROWS = 16  # images of each role
_HALF = 2  # rows of each role in a batch
_BANK = 32
_OPTIMISER = OptimiserConfig(steps=2, lr=1e-4)
_TASK = TaskConfig(kind="random", ratio=0.5)
_METHOD = METHODS["ours"]


@dataclass(frozen=True)
class _Images:
    """Random images in place of a data set."""

    images: Tensor

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> Tensor:
        return self.images[torch.from_numpy(rows)]

    def expand(self, compact: Tensor) -> Tensor:
        return compact


def _batches(source: RowReader) -> Batches:
    pools = (
        Pool(np.arange(_ROWS), _HALF, False, "retain"),
        Pool(np.arange(_ROWS, 2 * _ROWS), _HALF, True, "forget"),
    )
    return Batches(source, pools, seed=0)


def product_step(
    model: MAGE, teacher: MAGE, source: RowReader, bank: Mapping[str, Tensor], device: torch.device
) -> float:
    """Seconds of the second of two steps of the product's own training."""
    ends: list[float] = []

    def on_step(step: int, terms: object) -> None:
        synchronise(device)
        ends.append(time.perf_counter())

    recipe = Recipe(method=_METHOD, optimiser=_OPTIMISER, tasks=(_TASK,), seed=0, noise_bank=bank)
    train(model, teacher, _batches(source), recipe, Running(device=device, on_step=on_step))
    return ends[1] - ends[0]


def plain_step(model: MAGE, teacher: MAGE, source: RowReader, device: torch.device) -> float:
    """Seconds of the second of two steps, every input tokenised and every pass whole."""
    student_loss = StudentLoss(model.train(), _METHOD)
    optimiser = adamw(student_loss, _OPTIMISER, device)
    ends: list[float] = []
    for step in range(2):
        batch = _batches(source).at(step)
        images, forget = batch.content.to(device), batch.forget.to(device)
        noise = torch.rand(images.shape).to(device)
        masks = RowGenerators(batch.places, 0, "masks", step)
        drawn = model.prepare(images, Masking(_TASK, masks, noise=False))
        hidden = drawn["drop_mask"], drawn["all_mask"]
        latent = model.encode(drawn["tokens"], *hidden)
        with torch.no_grad():
            targets = []
            for seen in (images, noise):
                encoded = teacher.encode(teacher.tokenize(seen), *hidden)
                teacher.predict(encoded, *hidden)
                targets.append(encoded)
        target = torch.where(forget.view(-1, 1, 1), targets[1], targets[0])
        weight = torch.where(forget, 0.25 / _HALF, 1.0 / _HALF)
        loss = ((latent - target).square().flatten(1).mean(dim=1) * weight).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student_loss.parameters(), _OPTIMISER.clip)
        optimiser.step()
        synchronise(device)
        ends.append(time.perf_counter())
    return ends[1] - ends[0]


def compare(size: str, repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds a step of the four formulations."""
    torch.manual_seed(0)
    built = build_model(size)
    assert isinstance(built, MAGE)
    model = built.to(device)
    teacher = copy.deepcopy(model).eval().requires_grad_(False)
    side = model.grid * model.patch_size
    images = _Images(torch.rand(2 * _ROWS, 3, side, side))
    places, codes = model.grid**2, model.codebook_size
    kept = np.random.default_rng(0).integers(0, codes, (1, 2 * _ROWS, places)).astype(np.uint16)
    tokens = CachedTokens((RoleTokens(np.arange(2 * _ROWS), kept),))
    bank = {"noise_tokens": torch.randint(0, codes, (_BANK, places), device=device)}
    works: dict[str, Callable[[], float]] = {
        "plain": lambda: plain_step(model, teacher, images, device),
        "structure": lambda: product_step(model, teacher, images, {}, device),
        "noise bank": lambda: product_step(model, teacher, images, bank, device),
        "token cache": lambda: product_step(model, teacher, tokens, bank, device),
    }
    spent: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            spent[name].append(work())
    return {name: statistics.median(each) for name, each in spent.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line a formulation: seconds a step, and how many times the plain one is slower."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the tiny size, once")
    parser.add_argument("--device", default="cpu", help="cpu, or cuda; default cpu")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    size, repeats = ("mage_tiny", 1) if options.quick else ("mage_vit_base_patch16", 3)
    seconds = compare(size, repeats, torch.device(options.device))
    for name, each in seconds.items():
        ratio = seconds["plain"] / each
        print(f"{size}, batch {2 * _HALF}: {name:<12} {each:8.3f} s {ratio:8.2f} x", flush=True)


if __name__ == "__main__":
    main()
