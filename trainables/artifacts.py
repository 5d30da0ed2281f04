"""Writes what a finished trial leaves: weights, pictures, embeddings and its result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trainables.config import TrialConfig, to_dict
from trainables.config.names import RESULT, SNAPSHOT
from trainables.data import Dataset
from trainables.evaluation import figures
from trainables.evaluation.embeddings import tsne_points, write_embeddings
from trainables.evaluation.evaluate import complete_rows, further_setups, grey_rows
from trainables.evaluation.extractors import Arrays
from trainables.evaluation.pretrained_weights import extractor_labels
from trainables.models import CompletionModel
from trainables.models.checkpoints import save_weights
from trainables.shared.identity import identity
from trainables.shared.prepare import Prepared
from trainables.training.context import TrialSetup
from trainables.utils.files import flush_all, write_json
from trainables.utils.hashing import code_version, seal
from trainables.utils.local_files import take_inventory


@dataclass
class Measured:
    """Collects the evaluations of a trial.

    Attributes:
        history: the metrics of each evaluation, with their `step`.
        extracted: what the networks gave of the last evaluation's completions, by set.
        resumed_from: steps that were done already when this process began.
    """

    history: list[Mapping[str, float]] = field(default_factory=list)
    extracted: dict[str, Arrays] = field(default_factory=dict)
    resumed_from: int = 0

    def resume(self, step: int, history: Sequence[Mapping[str, float]]) -> None:
        """Takes over the evaluations of an attempt that was killed, and how far that had come."""
        self.history[:] = history
        self.resumed_from = step

    @property
    def final(self) -> dict[str, float]:
        """Returns the metrics of the last evaluation."""
        return {name: value for name, value in self.history[-1].items() if name != "step"}


def leave_artifacts(
    prepared: Prepared, student: CompletionModel, teacher: CompletionModel, measured: Measured
) -> list[Path]:
    """Writes configuration, history, weights, sample grids and t-SNE into the trial's folder.

    Returns:
        The files.
    """
    setup = prepared.setup
    folder = setup.context.folder
    names = ("config.json", "history.json", "weights.safetensors", "samples.png", "samples.parquet")
    config, history, weights, grid, samples = left = [folder / name for name in names]
    write_json(config, to_dict(setup.config))
    write_json(history, measured.history)
    save_weights(student, weights)
    models = {"original": teacher, "unlearned": student}
    rows, roles = sampled_rows(setup.dataset, setup.config.evaluation.grid_images)
    columns = sample_columns(models, setup, rows)
    _leave_grid(setup.config, grid, columns, roles)
    figures.write_samples(samples, columns, roles, rows.tolist())
    for other in further_setups(setup):
        path = folder / f"samples_{other.config.test_task.name}.png"
        _leave_grid(other.config, path, sample_columns(models, other, rows), roles)
        left.append(path)
    return [*left, *_leave_embeddings(prepared, measured)]


def sampled_rows(dataset: Dataset, count: int) -> tuple[NDArray[np.int64], list[str]]:
    """Returns manifest rows of up to `count` test images of each role, and their roles."""
    rows = {role: dataset.rows(role, "test") for role in ("retain", "forget")}
    chosen = {role: each[_spread(each, count)] for role, each in rows.items()}
    roles = [role for role, each in chosen.items() for _ in each]
    return np.concatenate([*chosen.values()]), roles


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Returns at most `count` places of `rows`, evenly spread, so that every class is met."""
    return np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))


def sample_columns(
    models: Mapping[str, CompletionModel], setup: TrialSetup, rows: NDArray[np.int64]
) -> dict[str, Tensor]:
    """Returns what is shown of some images: input, truth and a completion by each model.

    Args:
        models: by the heading of their completions.
        setup: gives the images and the test task.
        rows: the images' manifest rows.
    """
    first = next(iter(models.values()))
    return {
        "input": grey_rows(first, setup, rows),
        "truth": setup.dataset.images(rows),
        **{heading: complete_rows(model, setup, rows) for heading, model in models.items()},
    }


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
    """Returns one line that tells this trial from others of its method."""
    if not config.unlearns:
        told = {"original": "before unlearning", "retrained": "trained without the forget classes"}
        return told[config.method]
    return (
        f"forget_alpha {config.forget_alpha:.3g}, rate {config.unlearn.lr:.2g}, "
        f"{config.unlearn.steps} steps, retain rows {config.retain_source}, seed {config.seed}"
    )


def _leave_embeddings(prepared: Prepared, measured: Measured) -> list[Path]:
    """Writes the embeddings of completions and their t-SNE, and returns the files."""
    config, dataset = prepared.setup.config, prepared.setup.dataset
    folder = prepared.setup.context.folder
    groups: list[str] = []
    index: list[int] = []
    parts: list[np.ndarray] = []
    shown = {"original": prepared.reference.original, "unlearned": measured.extracted}
    if config.method == "original":
        del shown["unlearned"]  # the same model once more
    for who, sets in shown.items():
        for role in ("retain", "forget"):
            rows = dataset.rows(role, "test")
            places = _spread(rows, config.evaluation.tsne_points)
            parts.append(sets[role].embeddings[places])
            index += rows[places].tolist()
            groups += [f"{who}/{role}"] * len(places)
    embeddings = np.concatenate(parts).astype(np.float64)
    points = tsne_points(embeddings, config.evaluation.seed)
    table, *drawn = left = [
        folder / name for name in ("embeddings.parquet", "tsne.png", "tsne.pdf")
    ]
    write_embeddings(table, groups, index, embeddings, points)
    figures.tsne_figure(
        drawn,
        points,
        groups,
        title=f"{config.model} · {config.method}: embeddings of completions",
        subtitle=describe(config),
    )
    return left


def write_result(
    prepared: Prepared, measured: Measured, spent: Mapping[str, float], left: Iterable[Path]
) -> dict[str, Any]:
    """Writes `result.json`, by which a trial counts as finished, and returns what it holds.

    Args:
        prepared: what the trial started from.
        measured: its evaluations.
        spent: seconds of each of its parts.
        left: its files, as `leave_artifacts` returned them.
    """
    setup = prepared.setup
    folder = setup.context.folder
    result = {
        "trial_key": setup.config.key(),
        "metrics": measured.final,
        "extractors": extractor_labels(setup.config, prepared.weights, len(setup.dataset.classes)),
        "fid": {
            "width": measured.extracted["retain"].features.shape[1],
            "images": {name: len(each.features) for name, each in measured.extracted.items()},
        },
        "timing": dict(spent),
        "resumed_from": measured.resumed_from,
        "data_hash": setup.dataset.fingerprint,
        "code_version": code_version("trainables"),
        "identity": identity(setup),
        "files": take_inventory(left),
    }
    # a loss of power must not leave a result whose other files are empty or absent
    flush_all(folder)
    write_json(folder / RESULT, seal(result))
    (folder / SNAPSHOT).unlink(missing_ok=True)
    return result
