"""One trial from beginning to end: base -> unlearn -> complete images -> measure -> artifacts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from trainables.artifacts import Measured, leave_artifacts
from trainables.config import TrialConfig
from trainables.config.names import RESULT, SNAPSHOT
from trainables.data import Dataset
from trainables.data.batches import Batches, Pool
from trainables.data.retain_subset import training_rows
from trainables.evaluation.evaluate import evaluate, evaluate_further, objective
from trainables.evaluation.pretrained_weights import Weights, find_weights, material
from trainables.methods import METHODS, Terms
from trainables.models import CompletionModel
from trainables.shared.base_models import base_material, retrained_material
from trainables.shared.prepare import Prepared, load_models, prepare
from trainables.training.context import Context
from trainables.training.loop import Recipe, Running, train
from trainables.training.optimizer import TrainingState
from trainables.training.snapshots import Snapshot, read_snapshot, write_snapshot
from trainables.utils.files import flush, write_json
from trainables.utils.hashing import code_version, content_key, seal
from trainables.utils.threads import torch_threads


class _Clock:
    """Seconds spent on each part of a trial."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def on(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent[part] = self.spent.get(part, 0.0) + time.perf_counter() - start


def run_trial(config: TrialConfig, context: Context | None = None) -> dict[str, Any]:
    """Runs one trial whole and leaves its files in `context.folder`.

    With several processes all of them train and rank 0 alone measures, reports and writes. A trial
    that was killed goes on from the snapshot in its folder, to the result of an unbroken one: bit
    for bit on a CPU with up to two processes, else to rounding. What the snapshot holds is not
    reported again.

    Args:
        config: the trial.
        context: where and with whom; the default is this process alone, in `runs/`.

    Returns:
        What `result.json` holds: the final metrics, the extractors' names, timings, hashes.

    Raises:
        UserError: data or configuration that cannot be used.
        NonFiniteError: a loss, gradient, completion or metric became NaN or infinite.
    """
    context = context or Context()
    clock = _Clock()
    start = time.perf_counter()
    context.folder.mkdir(parents=True, exist_ok=True)
    with torch_threads(context.threads):
        with clock.on("prepare_s"):
            prepared = prepare(config, context)
            student, teacher = load_models(config, prepared, context)
        measured = _unlearn(config, context, prepared, student, teacher, clock)
        if context.world.rank:
            return {}
        with clock.on("artifacts_s"):
            leave_artifacts(config, context, prepared, student, teacher, measured)
    clock.spent["total_s"] = time.perf_counter() - start
    return _write_result(config, context, prepared, measured, clock)


def _unlearn(
    config: TrialConfig,
    context: Context,
    prepared: Prepared,
    student: CompletionModel,
    teacher: CompletionModel,
    clock: _Clock,
) -> Measured:
    measured = Measured()
    reference = prepared.reference
    last = config.unlearn.steps if config.unlearns else 0

    def look(step: int, losses: Mapping[str, float]) -> None:
        with clock.on("evaluation_s"):
            was_training = student.training
            given = (student.eval(), prepared.extractor, prepared.dataset, reference.real, config)
            metrics, measured.extracted = evaluate(*given)
            metrics |= objective(metrics, reference.metrics, config)
            if step == last:
                metrics |= evaluate_further(*given)
            student.train(was_training)
        measured.history.append({"step": step, **losses, **metrics})
        context.report(measured.history[-1])

    if not config.unlearns:
        # grey completions are measured once for all, and told of with the original
        grey = {k: v for k, v in reference.metrics.items() if k.startswith("grey/")}
        look(0, grey if config.method == "original" else {})
        return measured

    def on_step(step: int, terms: Terms) -> None:
        if step % config.unlearn.eval_every and step != config.unlearn.steps:
            return
        parts = torch.stack([terms.total, terms.retain, terms.forget]).double()
        total, retain, forget = (context.world.sum(parts) / context.world.size).tolist()
        if context.world.rank == 0:
            look(step, {"loss/total": total, "loss/retain": retain, "loss/forget": forget})
        else:
            context.report({})

    before = clock.spent.get("evaluation_s", 0.0)
    with clock.on("train_s"):
        _ease(student, config)
        begin, keep = _snapshots(config, context, prepared, measured)
        running = Running(
            device=context.device,
            world=context.world,
            parallelise=context.parallelise,
            bf16=in_bf16(config, context.device),
            on_step=on_step,
            begin=begin,
            keep=keep,
        )
        pools = training_pools(config, prepared.dataset)
        source = prepared.tokens or prepared.dataset
        batches = Batches(source, pools, config.seed, context.world, config.loader)
        train(student, teacher, batches, _recipe(config, prepared), running)
    clock.spent["train_s"] -= clock.spent.get("evaluation_s", 0.0) - before
    return measured


def _recipe(config: TrialConfig, prepared: Prepared) -> Recipe:
    return Recipe(
        method=METHODS[config.method],
        optimiser=config.unlearn,
        tasks=(config.train_task,),
        seed=config.seed,
        alpha=config.forget_alpha,
        formulation=config.formulation,
        accumulate=config.unlearn.accumulate,
        noise_bank=prepared.noise,
    )


def in_bf16(config: TrialConfig, device: torch.device) -> bool:
    """Whether unlearning on a device runs under bf16 autocast."""
    precision = config.unlearn.precision
    return precision == "bf16" or (precision == "auto" and device.type == "cuda")


def _ease(student: CompletionModel, config: TrialConfig) -> None:
    """Makes the student's blocks take less memory or time, as the configuration asks."""
    for block in student.heavy_blocks():
        if config.unlearn.recompute:
            # an instance's own forward, so that names of weights stay
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        if config.unlearn.compile:
            block.compile()


def identity(config: TrialConfig, context: Context, dataset: Dataset) -> dict[str, str]:
    """All that can change a figure of a trial.

    Args:
        config: the trial.
        context: where and with whom it runs.
        dataset: its images.

    Raises:
        CheckpointError: the weights of a network that measures cannot be had.
    """
    weights = find_weights(config.networks, context.cache)
    own = {}
    if config.method == "retrained":
        own["retrained"] = content_key(retrained_material(config, dataset, context))
    return own | {
        "trial": config.key(),
        "data": dataset.fingerprint,
        "original": content_key(base_material(config, dataset, context)),
        "networks": content_key(material(config.networks, weights)),
        "code": code_version("trainables"),
        "torch": str(torch.__version__),
        "device": context.device.type,
        "processes": str(context.world.size),
        "threads": str(context.threads),
    }


def _snapshots(
    config: TrialConfig, context: Context, prepared: Prepared, measured: Measured
) -> tuple[Callable[[TrainingState], int], Callable[[int, TrainingState], None]]:
    """Goes on from the snapshot in the trial's folder, and writes the next ones."""
    mine = identity(config, context, prepared.dataset)
    every = config.unlearn.save_every or config.unlearn.eval_every

    def begin(state: TrainingState) -> int:
        last = read_snapshot(context.folder, mine)
        if last is None:
            return 0
        state.restore(last.tensors)
        measured.history = list(last.history)
        measured.resumed_from = last.step
        return last.step

    def keep(step: int, state: TrainingState) -> None:
        # after the last step nothing is left to save but the evaluation just made
        if step % every or step == config.unlearn.steps or context.world.rank:
            return
        write_snapshot(
            context.folder,
            Snapshot(step, state.tensors(), tuple(measured.history)),
            mine,
        )
        context.kept(context.folder / SNAPSHOT)

    return begin, keep


def training_pools(config: TrialConfig, dataset: Dataset) -> tuple[Pool, ...]:
    """The rows of every unlearning batch: retain rows, real and proxy by the share; forget rows.

    The number of forget rows, of retain rows and of steps does not depend on the retain source.
    """
    rows = training_rows(config, dataset)
    return tuple(
        Pool(rows[role], count, role == "forget", role)
        for role, count in config.batch_rows().items()
    )


def extractor_labels(config: TrialConfig, weights: Mapping[str, Weights]) -> dict[str, str]:
    """What made each kind of figure, as every table and plot must say.

    Args:
        config: says by which networks, and the source of the domain CNN's images.
        weights: of the paper's networks, with their names.
    """
    names = {name: each.label for name, each in weights.items()}
    names["domain"] = f"{config.data.source} CNN"
    parts = config.networks.parts()
    return {
        "fid_extractor": names[parts["features"]],
        "is_extractor": names[parts["probabilities"]],
        "clip_model": names[parts["embeddings"]],
    }


def _write_result(
    config: TrialConfig,
    context: Context,
    prepared: Prepared,
    measured: Measured,
    clock: _Clock,
) -> dict[str, Any]:
    result = {
        "trial_key": config.key(),
        "metrics": measured.final,
        "extractors": extractor_labels(config, prepared.weights),
        "fid": {
            "width": measured.extracted["retain"].features.shape[1],
            "images": {name: len(each.features) for name, each in measured.extracted.items()},
        },
        "timing": clock.spent,
        "resumed_from": measured.resumed_from,
        "data_hash": prepared.dataset.fingerprint,
        "code_version": code_version("trainables"),
        "identity": identity(config, context, prepared.dataset),
    }
    # a loss of power must not leave a result whose other files are empty
    for path in context.folder.iterdir():
        if path.is_file():
            flush(path)
    write_json(context.folder / RESULT, seal(result))
    (context.folder / SNAPSHOT).unlink(missing_ok=True)
    return result
