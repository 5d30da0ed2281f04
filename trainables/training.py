"""The one optimisation loop, for pretraining and for unlearning.

Every step is a function of (seed, step): which rows, which masks, which noise. So a run goes on
from any step, and several processes that share a batch draw what one process would.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.config import LoaderConfig, OptimiserConfig, TaskConfig, Variant
from trainables.data import Dataset
from trainables.data.dataset import as_images
from trainables.data.noise import RowGenerators, mix_seed
from trainables.errors import ConfigError, NonFiniteError
from trainables.loader import fetched
from trainables.methods import Method, Terms
from trainables.models.base import CompletionModel, Prepare
from trainables.parallel import ALONE, World

Parallelise = Callable[[nn.Module], nn.Module]


@dataclass(frozen=True)
class Batch:
    """One process's rows of a global batch.

    Attributes:
        images: `(B, 3, H, W)` in [0, 1].
        forget: `(B,)` bool.
        places: each row's place in the global batch, which keys its draws.
    """

    images: Tensor
    forget: Tensor
    places: Sequence[int]


@dataclass(frozen=True)
class Pool:
    """Rows of which each global batch holds a fixed number, in a new seeded order every epoch."""

    rows: np.ndarray
    count: int
    forget: bool
    name: str

    def draw(self, seed: int, step: int) -> np.ndarray:
        """The `count` rows of a step, `(count,)` int64."""
        return self.draw_views(seed, step)[0]

    def draw_views(self, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a step and how often each was drawn before, two of `(count,)` int64."""
        places = np.arange(step * self.count, (step + 1) * self.count)
        epochs = places // len(self.rows)
        chosen = np.empty(self.count, dtype=np.int64)
        for epoch in np.unique(epochs):
            generator = np.random.default_rng(mix_seed(seed, "order", self.name, int(epoch)))
            order = generator.permutation(len(self.rows))
            inside = epochs == epoch
            chosen[inside] = self.rows[order[places[inside] % len(self.rows)]]
        return chosen, epochs


@dataclass(frozen=True)
class Batches:
    """Stratified batches: a fixed number of rows of each pool in every global batch.

    Raises:
        ConfigError: a pool is empty, or its rows cannot be shared evenly by the processes.
    """

    dataset: Dataset
    pools: tuple[Pool, ...]
    seed: int
    world: World = ALONE
    loader: LoaderConfig = field(default_factory=LoaderConfig)

    def __post_init__(self) -> None:
        problems = [
            f"no training images for the {pool.name} rows"
            for pool in self.pools
            if not len(pool.rows)
        ] + [
            f"{pool.count} {pool.name} rows a step cannot be shared by {self.world.size} workers"
            for pool in self.pools
            if pool.count % self.world.size
        ]
        if problems:
            raise ConfigError(problems)

    def at(self, step: int) -> Batch:
        """This process's rows of the global batch of a step."""
        return self._batch(self._read(step))

    def steps(self, start: int, stop: int) -> Generator[Batch, None, None]:
        """`at` each step from `start` to before `stop`, read ahead as `loader` says.

        Closing it ends the loader's workers.
        """
        with contextlib.closing(fetched(self._read, start, stop, self.loader)) as pixels:
            yield from map(self._batch, pixels)

    def _read(self, step: int) -> Tensor:
        """Bytes `(B, H, W, 3)`: a quarter of what images take on their way from a worker."""
        rows, views = [], []
        for pool, mine in self._shares():
            drawn, seen = pool.draw_views(self.seed, step)
            rows.append(drawn[mine])
            views.append(seen[mine])
        return self.dataset.read(np.concatenate(rows), np.concatenate(views))

    def _batch(self, pixels: Tensor) -> Batch:
        forget: list[bool] = []
        places: list[int] = []
        start = 0
        for pool, mine in self._shares():
            forget += [pool.forget] * (mine.stop - mine.start)
            places += range(start + mine.start, start + mine.stop)
            start += pool.count
        return Batch(as_images(pixels), torch.tensor(forget), places)

    def _shares(self) -> Iterator[tuple[Pool, slice]]:
        """Each pool with this process's part of its rows."""
        for pool in self.pools:
            share = pool.count // self.world.size
            yield pool, slice(self.world.rank * share, (self.world.rank + 1) * share)


class Objective(nn.Module):
    """A student with a method's loss: what data parallelism wraps, since it hooks `forward`."""

    def __init__(self, student: CompletionModel, method: Method) -> None:
        super().__init__()
        self.student = student
        self.method = method
        if isinstance(method.moves, frozenset):
            moved = method.moves
        elif method.moves == "encoder":
            moved = student.encoder_names()
        else:
            moved = frozenset(
                name for name, each in student.named_parameters() if each.requires_grad
            )
        for name, parameter in student.named_parameters():
            parameter.requires_grad_(name in moved)

    def forward(self, *args: Any, **options: Any) -> Terms:
        """The method's loss; see `trainables.methods.base.Loss`."""
        return self.method.loss(self.student, *args, **options)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained.

    Attributes:
        method: gives the loss and what it moves.
        optimiser: steps, rate, decay, clipping.
        tasks: what is removed from the training images, in turn step by step.
        seed: keys every draw.
        alpha, variant: the method's.
        prepare: draws the method's inputs; None is the student's own `prepare`.
    """

    method: Method
    optimiser: OptimiserConfig
    tasks: tuple[TaskConfig, ...]
    seed: int
    alpha: float = 0.25
    variant: Variant = "paper"
    prepare: Prepare | None = None


@dataclass(kw_only=True)
class Running:
    """Where and with whom a training runs.

    Attributes:
        device: of the model.
        world: the processes that share each batch.
        parallelise: wraps the objective for data parallelism; the default leaves it.
        on_step: called after every step with (steps done, terms).
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    world: World = ALONE
    parallelise: Parallelise = lambda module: module
    on_step: Callable[[int, Terms], None] = lambda step, terms: None


def learning_rate(config: OptimiserConfig, step: int) -> float:
    """Linear warm-up, then half a cosine to zero or a constant; `step` counts from 0."""
    warm = round(config.warmup * config.steps)
    if step < warm:
        return config.lr * (step + 1) / warm
    progress = (step - warm) / max(config.steps - warm, 1)
    left = 0.5 * (1.0 + math.cos(math.pi * progress)) if config.schedule == "cosine" else 1.0
    return config.lr * left


def _optimiser(module: nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    moved = [each for each in module.parameters() if each.requires_grad]
    groups = [
        {"params": [p for p in moved if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in moved if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2))


def train(
    student: CompletionModel,
    teacher: CompletionModel,
    batches: Batches,
    recipe: Recipe,
    running: Running,
) -> None:
    """Trains the student in place.

    Args:
        student: on `running.device`; its other parameters than `recipe.method.moves` are left bit
            for bit.
        teacher: the frozen original, in evaluation mode.
        batches: the rows of each step.
        recipe: loss, optimiser, seed.
        running: device, processes, callback.

    Raises:
        NonFiniteError: a loss or gradient is NaN or infinite.
    """
    objective = Objective(student.train(), recipe.method)
    wrapped = running.parallelise(objective)
    optimiser = _optimiser(objective, recipe.optimiser)
    with contextlib.closing(batches.steps(0, recipe.optimiser.steps)) as coming:
        for step, batch in enumerate(coming):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(recipe.optimiser, step)
            terms = _step_terms(wrapped, student, teacher, batch, step, recipe, running)
            optimiser.zero_grad(set_to_none=True)
            terms.total.backward()
            norm = nn.utils.clip_grad_norm_(
                [p for p in objective.parameters() if p.requires_grad], recipe.optimiser.clip
            )
            # the sum is non-finite where either is, so a step waits for the device once
            if not math.isfinite(float(terms.total.detach() + norm)):
                loss = float(terms.total.detach())
                raise NonFiniteError(
                    f"step {step + 1} of {recipe.optimiser.steps}: loss {loss:g}, gradient norm "
                    f"{float(norm):g}; a lower learning rate or forget_alpha may help"
                )
            optimiser.step()
            running.on_step(step + 1, terms)
    student.eval()


def _step_terms(
    wrapped: nn.Module,
    student: CompletionModel,
    teacher: CompletionModel,
    batch: Batch,
    step: int,
    recipe: Recipe,
    running: Running,
) -> Terms:
    images = batch.images.to(running.device, non_blocking=True)
    forget = batch.forget.to(running.device, non_blocking=True)
    masks = RowGenerators(batch.places, recipe.seed, "masks", step)
    noise = RowGenerators(batch.places, recipe.seed, "noise", step)
    prepare = recipe.prepare or student.prepare
    task = recipe.tasks[step % len(recipe.tasks)]
    inputs = prepare(images, task, masks, running.world)
    terms: Terms = wrapped(
        teacher,
        inputs,
        forget,
        alpha=recipe.alpha,
        variant=recipe.variant,
        generator=noise,
        world=running.world,
    )
    return terms


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Runs torch on a fixed number of threads, which can change the last bit of a sum."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
