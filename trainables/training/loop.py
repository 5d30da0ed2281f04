"""The one optimisation loop, for pretraining and for unlearning.

Every step is a function of (seed, step): which rows, which masks, which noise. So a run goes on
from any step, and several processes that share a batch draw what one process would.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from trainables.config import DEFAULT_ALPHA, Formulation, OptimiserConfig, TaskConfig, UnlearnConfig
from trainables.data.batches import Batch, Batches
from trainables.methods import Method, Terms
from trainables.methods.base import shares, weighted_sum
from trainables.models.base import CompletionModel, Masking, NoiseRows, Prepare
from trainables.training.optimizer import StudentLoss, TrainingState, adamw, learning_rate
from trainables.utils.distributed import ALONE, World
from trainables.utils.errors import ConfigError, NonFiniteError
from trainables.utils.rng import RowGenerators, mix_seed

Parallelise = Callable[[nn.Module], nn.Module]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained.

    Attributes:
        method: gives the loss and what it moves.
        optimiser: steps, rate, decay, clipping.
        tasks: what is removed from the training images, in turn step by step.
        seed: keys every draw.
        alpha, formulation: the method's.
        prepare: draws the method's inputs; None is the student's own `prepare`.
        accumulate: parts that each process cuts its rows into, one after the other. A method that
            takes moments over the batch, or pairs its rows, does so within each part.
        noise_bank: inputs of noise images, a row each, from which forget rows draw in place of new
            ones.
    """

    method: Method
    optimiser: OptimiserConfig
    tasks: tuple[TaskConfig, ...]
    seed: int
    alpha: float = DEFAULT_ALPHA
    formulation: Formulation = "paper"
    prepare: Prepare | None = None
    accumulate: int = 1
    noise_bank: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Running:
    """Where and with whom a training runs.

    Attributes:
        device: of the model.
        world: the processes that share each batch.
        parallelise: wraps the loss for data parallelism; the default leaves it.
        bf16: autocast of the passes of student and teacher, and TF32 for what stays float32.
        on_step: called after every step with (steps done, terms).
        begin: puts back an earlier training's state and returns how many steps that had done.
        keep: called after `on_step` with (steps done, state).
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    world: World = ALONE
    parallelise: Parallelise = lambda module: module
    bf16: bool = False
    on_step: Callable[[int, Terms], None] = lambda step, terms: None
    begin: Callable[[TrainingState], int] = lambda state: 0
    keep: Callable[[int, TrainingState], None] = lambda step, state: None


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
        running: device, processes, callbacks.

    Raises:
        ConfigError: the method needs whole batches and is given parts of them.
        NonFiniteError: a loss or gradient is NaN or infinite.
    """
    _refuse_parts(recipe, running.world)
    loss = StudentLoss(student.train(), recipe.method)
    optimiser = adamw(loss, recipe.optimiser, running.device)
    state = TrainingState(loss, optimiser)
    masks = _masks(student, recipe.method)
    start = running.begin(state)
    wrapped = running.parallelise(loss)
    moved = [each for each in loss.parameters() if each.requires_grad]
    with contextlib.closing(batches.steps(start, recipe.optimiser.steps)) as coming:
        for step, batch in enumerate(coming, start):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(recipe.optimiser, step)
            optimiser.zero_grad(set_to_none=True)
            with _products("high" if running.bf16 else "highest"):
                terms = _Step(wrapped, student, teacher, recipe, running, step).backward(batch)
            for parameter, factor in masks:
                parameter.grad = None if parameter.grad is None else parameter.grad * factor
            norm = nn.utils.clip_grad_norm_(moved, recipe.optimiser.clip)
            # the sum is non-finite where either is, so a step waits for the device once
            if not math.isfinite(float(terms.total + norm)):
                raise NonFiniteError(
                    f"step {step + 1} of {recipe.optimiser.steps}: loss {float(terms.total):g}, "
                    f"gradient norm {float(norm):g}; a lower learning rate or forget_alpha may help"
                )
            optimiser.step()
            running.on_step(step + 1, terms)
            running.keep(step + 1, state)
    student.eval()


def _refuse_parts(recipe: Recipe, world: World) -> None:
    method = recipe.method
    linear = method.combine is weighted_sum
    if (recipe.accumulate > 1 and not (linear and method.sign)) or (world.size > 1 and not linear):
        raise ConfigError([f"{method.name} needs whole batches: one worker, unlearn.accumulate=1"])


def _masks(student: CompletionModel, method: Method) -> list[tuple[nn.Parameter, Tensor]]:
    """Returns the moved parameters whose gradients are masked, each with its factor."""
    if method.mask is None:
        return []
    moved = [each for each in student.named_parameters() if each[1].requires_grad]
    pairs = [(parameter, method.mask(name, parameter)) for name, parameter in moved]
    return [(parameter, factor) for parameter, factor in pairs if factor is not None]


@dataclass(frozen=True)
class _Step:
    """One step's forward and backward passes."""

    wrapped: nn.Module
    student: CompletionModel
    teacher: CompletionModel
    recipe: Recipe
    running: Running
    step: int

    def backward(self, batch: Batch) -> Terms:
        """Leaves the gradient of the whole batch; returns its terms, detached."""
        forget = batch.forget.to(self.running.device, non_blocking=True)
        inputs = self._inputs(batch, forget)
        noise = RowGenerators(batch.places, self.recipe.seed, "noise", self.step)
        if self.recipe.accumulate == 1:
            terms = self._terms(inputs, forget, noise)
            terms.total.backward()
            return Terms(terms.total.detach(), terms.retain.detach(), terms.forget.detach())
        return self._accumulated(inputs, forget, noise)

    def _inputs(self, batch: Batch, forget: Tensor) -> dict[str, Tensor]:
        recipe = self.recipe
        content = batch.content.to(self.running.device, non_blocking=True)
        masks = RowGenerators(batch.places, recipe.seed, "masks", self.step)
        prepare = recipe.prepare or self.student.prepare
        task = recipe.tasks[self.step % len(recipe.tasks)]
        asked = recipe.method.noise_images
        drawn: NoiseRows = forget if asked and not recipe.noise_bank else False
        inputs = prepare(content, Masking(task, masks, self.running.world, drawn))
        if asked:
            for name, bank in recipe.noise_bank.items():
                places = [
                    mix_seed(recipe.seed, "bank", self.step, place) % len(bank)
                    for place in batch.places
                ]
                inputs[name] = bank[torch.tensor(places, device=bank.device)]
        return inputs

    def _terms(self, inputs: Mapping[str, Tensor], forget: Tensor, noise: RowGenerators) -> Terms:
        device = self.running.device.type
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.running.bf16):
            terms: Terms = self.wrapped(
                self.teacher,
                inputs,
                forget,
                alpha=self.recipe.alpha,
                formulation=self.recipe.formulation,
                generator=noise,
                world=self.running.world,
            )
        return terms

    def _accumulated(
        self, inputs: Mapping[str, Tensor], forget: Tensor, noise: RowGenerators
    ) -> Terms:
        """Part after part, each part's terms weighed by its share of the batch's places."""
        recipe, world = self.recipe, self.running.world
        places = recipe.method.places(self.student, inputs, recipe.formulation)
        whole = shares(places, forget, recipe.formulation, world)
        parts = _parts(forget, recipe.accumulate)
        done: list[Tensor] = []
        for part in parts:
            last = part is parts[-1]
            unsynced = getattr(self.wrapped, "no_sync", contextlib.nullcontext)
            with contextlib.nullcontext() if last else unsynced():
                terms = self._terms(
                    {name: each[part] for name, each in inputs.items()},
                    forget[part],
                    noise.take(part.tolist()),
                )
                mine = shares(places[part], forget[part], recipe.formulation, world)
                weights = [own / of.clamp_min(1.0) for own, of in zip(mine, whole, strict=True)]
                retained, forgotten = weights[0] * terms.retain, weights[1] * terms.forget
                weighed = recipe.method.weigh(retained, forgotten, recipe.alpha)
                weighed.total.backward()
            done.append(torch.stack([weighed.total, retained, forgotten]).detach())
        return Terms(*torch.stack(done).sum(dim=0).unbind())


def _parts(forget: Tensor, count: int) -> Sequence[Tensor]:
    """Places of the rows of each part; every part holds as many forget rows as any other.

    Raises:
        ConfigError: they cannot.
    """
    kinds = [kind.nonzero().flatten() for kind in (~forget, forget)]
    if any(len(kind) % count for kind in kinds):
        told = " and ".join(str(len(kind)) for kind in kinds)
        raise ConfigError([f"{told} retain and forget rows cannot be cut into {count} equal parts"])
    cut = [kind.tensor_split(count) for kind in kinds]
    return [torch.cat(part).sort().values for part in zip(*cut, strict=True)]


@contextlib.contextmanager
def _products(precision: str) -> Iterator[None]:
    """Float32 matrix products on a GPU: `high` is TF32. What trials share stays exact."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def in_bf16(options: UnlearnConfig, device: torch.device) -> bool:
    """Returns whether unlearning on a device runs under bf16 autocast."""
    return options.precision == "bf16" or (options.precision == "auto" and device.type == "cuda")


def ease_blocks(student: CompletionModel, options: UnlearnConfig) -> None:
    """Makes the student's heavy blocks recompute their activations, or compiles them, as asked."""
    for block in student.heavy_blocks():
        if options.recompute:
            # an instance's own forward: a wrapping module would change the names of weights
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if options.compile:
            block.compile()
