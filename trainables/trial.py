"""One trial from beginning to end: base -> unlearn -> complete images -> measure -> artifacts."""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables import figures
from trainables.base_models import load_base
from trainables.cache import code_version
from trainables.checkpoints import save_weights
from trainables.config import TrialConfig, to_dict
from trainables.context import Context
from trainables.data import Dataset
from trainables.data.availability import training_rows
from trainables.data.noise import RowGenerators
from trainables.evaluation import Arrays, complete_rows, evaluate, objective
from trainables.methods import METHODS, Terms
from trainables.models import CompletionModel
from trainables.networks import Weights
from trainables.stages import Prepared, prepare
from trainables.training import Batches, Pool, Recipe, Running, threads, train

RESULT = "result.json"


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

    With several processes all of them train and rank 0 alone measures, reports and writes.

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
    with threads(context.threads):
        with clock.on("prepare_s"):
            prepared = prepare(config, context)
            student = load_base(config, prepared.base, context)
            teacher = copy.deepcopy(student).requires_grad_(False)
        measured = _unlearn(config, context, prepared, student, teacher, clock)
        if context.world.rank:
            return {}
        with clock.on("artifacts_s"):
            _leave_artifacts(config, context, prepared, student, teacher, measured)
    clock.spent["total_s"] = time.perf_counter() - start
    return _write_result(config, context, prepared, measured, clock)


class _Measured:
    """The evaluations of a trial so far."""

    def __init__(self) -> None:
        self.history: list[dict[str, float]] = []
        self.extracted: dict[str, Arrays] = {}

    @property
    def final(self) -> dict[str, float]:
        return {name: value for name, value in self.history[-1].items() if name != "step"}


def _unlearn(
    config: TrialConfig,
    context: Context,
    prepared: Prepared,
    student: CompletionModel,
    teacher: CompletionModel,
    clock: _Clock,
) -> _Measured:
    measured = _Measured()
    reference = prepared.reference

    def look(step: int, losses: Mapping[str, float]) -> None:
        with clock.on("evaluation_s"):
            was_training = student.training
            metrics, measured.extracted = evaluate(
                student.eval(), prepared.extractor, prepared.dataset, reference.real, config
            )
            student.train(was_training)
        metrics |= objective(metrics, reference.metrics, config)
        measured.history.append({"step": step, **losses, **metrics})
        context.report(measured.history[-1])

    if config.method == "original":
        look(0, {k: v for k, v in reference.metrics.items() if k.startswith("grey/")})
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
        recipe = Recipe(
            method=METHODS[config.method],
            optimiser=config.unlearn,
            tasks=(config.train_task,),
            seed=config.seed,
            alpha=config.forget_alpha,
            variant=config.variant,
        )
        running = Running(
            device=context.device,
            world=context.world,
            parallelise=context.parallelise,
            on_step=on_step,
        )
        pools = training_pools(config, prepared.dataset)
        batches = Batches(prepared.dataset, pools, config.seed, context.world, config.loader)
        train(student, teacher, batches, recipe, running)
    clock.spent["train_s"] -= clock.spent.get("evaluation_s", 0.0) - before
    return measured


def training_pools(config: TrialConfig, dataset: Dataset) -> tuple[Pool, ...]:
    """The rows of every unlearning batch: retain rows, real and proxy by the share; forget rows.

    The number of forget rows, of retain rows and of steps does not depend on the retain source.
    """
    rows = training_rows(config, dataset)
    return tuple(
        Pool(rows[role], count, role == "forget", role)
        for role, count in config.batch_rows().items()
    )


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` places of `rows`, evenly spread, so that every class is met."""
    return np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))


def _leave_artifacts(
    config: TrialConfig,
    context: Context,
    prepared: Prepared,
    student: CompletionModel,
    teacher: CompletionModel,
    measured: _Measured,
) -> None:
    folder = context.folder
    (folder / "config.json").write_text(json.dumps(to_dict(config), indent=2))
    (folder / "history.json").write_text(json.dumps(measured.history))
    save_weights(student, folder / "weights.safetensors")
    _leave_samples(config, context, prepared.dataset, student, teacher)
    _leave_embeddings(config, context, prepared, measured)


def _leave_samples(
    config: TrialConfig,
    context: Context,
    dataset: Dataset,
    student: CompletionModel,
    teacher: CompletionModel,
) -> None:
    chosen: list[int] = []
    roles: list[str] = []
    for role in ("retain", "forget"):
        rows = dataset.rows(role, "test")
        places = rows[_spread(rows, config.evaluation.grid_images)]
        chosen += places.tolist()
        roles += [role] * len(places)
    rows = np.array(chosen)
    truth = dataset.images(rows)
    source = RowGenerators(chosen, config.evaluation.seed, "complete")
    hole = student.hole(len(rows), config.test_task, source)
    columns: dict[str, Tensor] = {
        "input": truth.masked_fill(hole, 0.5),
        "truth": truth,
        "original": complete_rows(teacher, dataset, rows, config),
        "unlearned": complete_rows(student, dataset, rows, config),
    }
    figures.sample_grid(
        context.folder / "samples.png",
        columns,
        roles,
        title=f"{config.model} · {config.method}",
        subtitle=describe(config),
    )
    figures.write_samples(context.folder / "samples.parquet", columns, roles, chosen)


def describe(config: TrialConfig) -> str:
    """One line that tells this trial from others of its method."""
    if config.method == "original":
        return "before unlearning"
    return (
        f"forget_alpha {config.forget_alpha:.3g}, rate {config.unlearn.lr:.2g}, "
        f"{config.unlearn.steps} steps, retain rows {config.retain_source}, seed {config.seed}"
    )


def _leave_embeddings(
    config: TrialConfig, context: Context, prepared: Prepared, measured: _Measured
) -> None:
    groups: list[str] = []
    index: list[int] = []
    parts: list[np.ndarray] = []
    for who, sets in (("original", prepared.reference.original), ("unlearned", measured.extracted)):
        for role in ("retain", "forget"):
            rows = prepared.dataset.rows(role, "test")
            places = _spread(rows, config.evaluation.tsne_points)
            parts.append(sets[role].embeddings[places])
            index += rows[places].tolist()
            groups += [f"{who}/{role}"] * len(places)
    embeddings = np.concatenate(parts).astype(np.float64)
    points = figures.tsne_points(embeddings, config.evaluation.seed)
    figures.write_embeddings(
        context.folder / "embeddings.parquet", groups, index, embeddings, points
    )
    figures.tsne_figure(
        [context.folder / "tsne.png", context.folder / "tsne.pdf"],
        points,
        groups,
        title=f"{config.model} · {config.method}: embeddings of completions",
        subtitle=describe(config),
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
    measured: _Measured,
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
        "data_hash": prepared.dataset.fingerprint,
        "code_version": code_version("trainables"),
    }
    temporary = context.folder / (RESULT + ".part")
    with temporary.open("w") as file:
        json.dump(result, file, indent=2, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(context.folder / RESULT)
    return result
