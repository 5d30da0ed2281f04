"""What a finished trial leaves beside its figures: weights, pictures, embeddings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from trainables.config import TrialConfig, to_dict
from trainables.data import Dataset
from trainables.evaluation import figures
from trainables.evaluation.evaluate import Arrays, complete_rows
from trainables.models import CompletionModel
from trainables.models.checkpoints import save_weights
from trainables.shared.prepare import Prepared
from trainables.training.context import Context
from trainables.utils.files import write_json
from trainables.utils.rng import RowGenerators


@dataclass
class Measured:
    """The evaluations of a trial so far.

    Attributes:
        history: metrics of each, with their `step`.
        extracted: of the last one's completions.
        resumed_from: steps that were done already when this process began.
    """

    history: list[Mapping[str, float]] = field(default_factory=list)
    extracted: dict[str, Arrays] = field(default_factory=dict)
    resumed_from: int = 0

    @property
    def final(self) -> dict[str, float]:
        """Metrics of the last."""
        return {name: value for name, value in self.history[-1].items() if name != "step"}


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """At most `count` places of `rows`, evenly spread, so that every class is met."""
    return np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))


def leave_artifacts(
    config: TrialConfig,
    context: Context,
    prepared: Prepared,
    student: CompletionModel,
    teacher: CompletionModel,
    measured: Measured,
) -> None:
    """Writes configuration, history, weights, sample grids and t-SNE into the trial's folder."""
    folder = context.folder
    write_json(folder / "config.json", to_dict(config))
    write_json(folder / "history.json", measured.history)
    save_weights(student, folder / "weights.safetensors")
    columns, roles, rows = _sampled(config, prepared.dataset, student, teacher)
    _leave_grid(config, folder / "samples.png", columns, roles)
    figures.write_samples(folder / "samples.parquet", columns, roles, rows)
    for task in config.further_tests():
        other = dataclasses.replace(config, test_task=task)
        columns, roles, _ = _sampled(other, prepared.dataset, student, teacher)
        _leave_grid(other, folder / f"samples_{task.name}.png", columns, roles)
    _leave_embeddings(config, context, prepared, measured)


def _sampled(
    config: TrialConfig, dataset: Dataset, student: CompletionModel, teacher: CompletionModel
) -> tuple[dict[str, Tensor], list[str], list[int]]:
    """Completions of some test images by kind, with the images' roles and manifest rows."""
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
    columns = {
        "input": truth.masked_fill(hole, 0.5),
        "truth": truth,
        "original": complete_rows(teacher, dataset, rows, config),
        "unlearned": complete_rows(student, dataset, rows, config),
    }
    return columns, roles, chosen


def _leave_grid(
    config: TrialConfig, path: Path, columns: Mapping[str, Tensor], roles: Sequence[str]
) -> None:
    drawn = dict(columns)
    own = drawn.pop("unlearned")
    if config.method != "original":  # whose own is the same model once more
        drawn["retrained" if config.method == "retrained" else "unlearned"] = own
    task = config.test_task
    figures.sample_grid(
        path,
        drawn,
        roles,
        title=f"{config.model} · {config.method} · {task.kind} {task.ratio:g}",
        subtitle=describe(config),
    )


def describe(config: TrialConfig) -> str:
    """One line that tells this trial from others of its method."""
    if not config.unlearns:
        told = {"original": "before unlearning", "retrained": "trained without the forget classes"}
        return told[config.method]
    return (
        f"forget_alpha {config.forget_alpha:.3g}, rate {config.unlearn.lr:.2g}, "
        f"{config.unlearn.steps} steps, retain rows {config.retain_source}, seed {config.seed}"
    )


def _leave_embeddings(
    config: TrialConfig, context: Context, prepared: Prepared, measured: Measured
) -> None:
    groups: list[str] = []
    index: list[int] = []
    parts: list[np.ndarray] = []
    shown = {"original": prepared.reference.original, "unlearned": measured.extracted}
    if config.method == "original":
        del shown["unlearned"]  # the same model once more
    for who, sets in shown.items():
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
