"""Runs one trial whole: prepare -> unlearn -> complete images -> measure -> artifacts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from trainables.artifacts import Measured, leave_artifacts, write_result
from trainables.config import TrialConfig
from trainables.config.names import SNAPSHOT
from trainables.config.readers import refuse_unread
from trainables.data.batches import Batches, Pool, training_rows
from trainables.evaluation.evaluate import evaluate, evaluate_further, objective
from trainables.methods import METHODS, Terms
from trainables.models import CompletionModel
from trainables.shared.identity import identity
from trainables.shared.prepare import Prepared, load_models, prepare
from trainables.training.context import Context, TrialSetup
from trainables.training.loop import Recipe, Running, ease_blocks, in_bf16, train
from trainables.training.optimizer import TrainingState
from trainables.training.snapshots import Snapshot, read_snapshot, write_snapshot
from trainables.utils.files import make_folder
from trainables.utils.threads import torch_threads


@contextmanager
def _timed(spent: dict[str, float], part: str) -> Iterator[None]:
    """Adds the seconds that the block takes to those of a part of the trial."""
    start = time.perf_counter()
    try:
        yield
    finally:
        spent[part] = spent.get(part, 0.0) + time.perf_counter() - start


def run_trial(
    config: TrialConfig, context: Context | None = None, *, planned: bool = False
) -> dict[str, Any]:
    """Runs one trial whole and leaves its files in `context.folder`.

    With several processes all of them train and rank 0 alone measures, reports and writes. A trial
    that was killed goes on from the snapshot in its folder, to the result of an unbroken one: bit
    for bit on a CPU with up to two processes, else to rounding. What the snapshot holds is not
    reported again.

    Args:
        config: the trial.
        context: where and with whom; the default is this process alone, in `runs/`.
        planned: the trial is one of a plan, whose trials share settings that not each of them
            reads. Of any other trial, a setting that it never reads is refused.

    Returns:
        What `result.json` holds: the final metrics, the extractors' names, timings, hashes.

    Raises:
        UserError: data or configuration that cannot be used.
        NonFiniteError: a loss, gradient, completion or metric became NaN or infinite.
    """
    if not planned:
        refuse_unread(config)
    context = context or Context()
    spent: dict[str, float] = {}
    make_folder(context.folder)
    with _timed(spent, "total_s"), torch_threads(context.threads):
        with _timed(spent, "prepare_s"):
            prepared = prepare(config, context)
            student, teacher = load_models(prepared)
        unlearning = _Unlearning(prepared, student, teacher, Measured(), spent)
        unlearning.run()
        if context.world.rank:
            return {}
        with _timed(spent, "artifacts_s"):
            left = leave_artifacts(prepared, student, teacher, unlearning.measured)
    return write_result(prepared, unlearning.measured, spent, left)


@dataclass(frozen=True)
class _Unlearning:
    """A trial from its prepared models to its last evaluation.

    Attributes:
        prepared: what it starts from.
        student, teacher: the model that is trained, and the frozen original.
        measured: collects its evaluations.
        spent: collects the seconds of its parts.
    """

    prepared: Prepared
    student: CompletionModel
    teacher: CompletionModel
    measured: Measured
    spent: dict[str, float]

    @property
    def config(self) -> TrialConfig:
        return self.prepared.setup.config

    @property
    def context(self) -> Context:
        return self.prepared.setup.context

    def run(self) -> None:
        """Trains the student and evaluates it on the way; a reference is evaluated alone."""
        config, prepared = self.config, self.prepared
        if not config.unlearns:
            # grey completions are measured once for all, and reported with the original
            measured = prepared.reference.metrics.items()
            grey = {name: value for name, value in measured if name.startswith("grey/")}
            self._evaluate(0, grey if config.method == "original" else {})
            return
        before = self.spent.get("evaluation_s", 0.0)
        with _timed(self.spent, "train_s"):
            ease_blocks(self.student, config.unlearn)
            source = prepared.tokens or prepared.setup.dataset
            pools = training_pools(prepared.setup)
            batches = Batches(source, pools, config.seed, self.context.world, config.loader)
            train(self.student, self.teacher, batches, self._recipe(), self._running())
        self.spent["train_s"] -= self.spent.get("evaluation_s", 0.0) - before

    def _recipe(self) -> Recipe:
        config = self.config
        return Recipe(
            method=METHODS[config.method],
            optimiser=config.unlearn,
            tasks=(config.train_task,),
            seed=config.seed,
            alpha=config.forget_alpha,
            formulation=config.formulation,
            accumulate=config.unlearn.accumulate,
            noise_bank=self.prepared.noise,
        )

    def _running(self) -> Running:
        """Goes on from the snapshot in the trial's folder, and writes the next ones."""
        context, unlearn = self.context, self.config.unlearn
        mine = identity(self.prepared.setup)
        every = unlearn.save_every or unlearn.eval_every

        def begin(state: TrainingState) -> int:
            last = read_snapshot(context.folder, mine)
            if last is None:
                return 0
            state.restore(last.tensors)
            self.measured.resume(last.step, last.history)
            return last.step

        def keep(step: int, state: TrainingState) -> None:
            # after the last step nothing is left to save but the evaluation just made
            if step % every or step == unlearn.steps or context.world.rank:
                return
            snapshot = Snapshot(step, state.tensors(), tuple(self.measured.history))
            write_snapshot(context.folder, snapshot, mine)
            context.kept(context.folder / SNAPSHOT)

        return Running(
            device=context.device,
            world=context.world,
            parallelise=context.parallelise,
            bf16=in_bf16(unlearn, context.device),
            on_step=self._on_step,
            begin=begin,
            keep=keep,
        )

    def _on_step(self, step: int, terms: Terms) -> None:
        unlearn, world = self.config.unlearn, self.context.world
        if step % unlearn.eval_every and step != unlearn.steps:
            return
        parts = torch.stack([terms.total, terms.retain, terms.forget]).double()
        total, retain, forget = (world.sum(parts) / world.size).tolist()
        if world.rank == 0:
            self._evaluate(
                step, {"loss/total": total, "loss/retain": retain, "loss/forget": forget}
            )
        else:
            self.context.report({})

    def _evaluate(self, step: int, losses: Mapping[str, float]) -> None:
        """Measures the student after some steps and reports it with these losses."""
        config, student, evaluator = self.config, self.student, self.prepared.evaluator
        last = config.unlearn.steps if config.unlearns else 0
        with _timed(self.spent, "evaluation_s"):
            was_training = student.training
            metrics, self.measured.extracted = evaluate(student.eval(), evaluator)
            metrics |= objective(metrics, self.prepared.reference.metrics, config)
            if step == last:
                metrics |= evaluate_further(student, evaluator)
            student.train(was_training)
        self.measured.history.append({"step": step, **losses, **metrics})
        self.context.report(self.measured.history[-1])


def training_pools(setup: TrialSetup) -> tuple[Pool, ...]:
    """Returns the rows of every unlearning batch: retain, real and proxy by the share, and forget.

    The number of forget rows, of retain rows and of steps does not depend on the retain source.
    """
    rows = training_rows(setup.config, setup.dataset)
    return tuple(
        Pool(rows[role], count, role == "forget", role)
        for role, count in setup.config.batch_rows().items()
    )
