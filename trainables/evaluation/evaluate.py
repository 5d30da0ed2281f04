"""Completes the validation and test images of a trial and measures the completions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainables.config import TrialConfig
from trainables.evaluation.extractors import Arrays, Extractor
from trainables.metrics import (
    cosine_similarity,
    frechet_distance,
    inception_score,
    kernel_distance,
)
from trainables.models.base import CompletionModel
from trainables.training.context import TrialSetup
from trainables.utils.errors import NonFiniteError
from trainables.utils.rng import RowGenerators, mix_seed

# name of each measured set -> (split, role); the test set's keys carry no prefix
MEASURED = {
    "val/retain": ("val", "retain"),
    "val/forget": ("val", "forget"),
    "retain": ("test", "retain"),
    "forget": ("test", "forget"),
}


_COMPARED = ("val/retain/fid", "val/forget/fid")


@dataclass(frozen=True)
class Evaluator:
    """Measures the completions of a trial's models.

    Attributes:
        setup: the images, the test task and what keys the draws.
        extractor: the networks.
        real: what they extract from the real images, by the names of `MEASURED`.
    """

    setup: TrialSetup
    extractor: Extractor
    real: Mapping[str, Arrays]

    def measure(self, name: str, images: Iterable[Tensor]) -> tuple[dict[str, float], Arrays]:
        """Returns the metrics of one set's completions, and what was extracted from them.

        Args:
            name: the set, a name of `MEASURED`.
            images: completions of its images, in their order, in batches `(B, 3, H, W)`.
        """
        generated = extract(self.extractor, images)
        device = next(self.extractor.parameters()).device
        found = measure(generated, self.real[name], self.setup.config, device)
        return {f"{name}/{key}": value for key, value in found.items()}, generated


def complete_rows(model: CompletionModel, setup: TrialSetup, rows: np.ndarray) -> Tensor:
    """Returns completions of the manifest's rows, `(N, 3, H, W)` in [0, 1] on the CPU.

    Each image's draws are keyed by its row, so its completion does not depend on its batch.
    """
    return torch.cat(list(_completions(model, setup, rows)))


def grey_rows(model: CompletionModel, setup: TrialSetup, rows: np.ndarray) -> Tensor:
    """Returns the images of the manifest's rows, `(N, 3, H, W)`, their holes filled with grey."""
    return torch.cat(list(_greyed(model, setup, rows)))


def _completions(model: CompletionModel, setup: TrialSetup, rows: np.ndarray) -> Iterator[Tensor]:
    device = next(model.parameters()).device
    for chosen in _batches(setup.config, rows):
        source = _draws(setup.config, chosen)
        with torch.inference_mode():
            images = setup.dataset.images(chosen).to(device)
            done = model.complete(images, setup.config.test_task, source).cpu()
        yield done


def _greyed(model: CompletionModel, setup: TrialSetup, rows: np.ndarray) -> Iterator[Tensor]:
    for chosen in _batches(setup.config, rows):
        source = _draws(setup.config, chosen)
        hole = model.hole(len(chosen), setup.config.test_task, source)
        yield setup.dataset.images(chosen).masked_fill(hole, 0.5)


def _batches(config: TrialConfig, rows: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), config.evaluation.batch_size):
        yield rows[start : start + config.evaluation.batch_size]


def _draws(config: TrialConfig, rows: np.ndarray) -> RowGenerators:
    return RowGenerators(rows.tolist(), config.evaluation.seed, "complete")


def extract(extractor: Extractor, batches: Iterable[Tensor]) -> Arrays:
    """Extracts from batches of images `(B, 3, H, W)` in [0, 1], on the extractor's device.

    The images are not kept: those of a large set would not fit in memory.
    """
    device = next(extractor.parameters()).device
    parts = [extractor.extract(batch.to(device)) for batch in batches]
    return Arrays(
        *(
            torch.cat([getattr(part, name).float().cpu() for part in parts]).numpy()
            for name in ("features", "probabilities", "embeddings")
        )
    )


def extract_real(extractor: Extractor, setup: TrialSetup) -> dict[str, Arrays]:
    """Returns what is extracted from the real images of each set, by the names of `MEASURED`."""
    found = {}
    for name, rows in _measured_rows(setup):
        found[name] = extract(extractor, map(setup.dataset.images, _batches(setup.config, rows)))
    return found


def measure(
    generated: Arrays, real: Arrays, config: TrialConfig, device: torch.device
) -> dict[str, float]:
    """Returns `fid`, `is_mean`, `is_std` and `clip` of a set; by Inception KID's two as well.

    Args:
        generated: of the completions.
        real: of the same images, in the same order.
        config: gives the evaluation's seed, which permutes the images before the splits and draws
            the subsets of the kernel distance.
        device: of the kernel distance's products.
    """
    seed = mix_seed(config.evaluation.seed, "splits")
    order = np.random.default_rng(seed).permutation(len(generated.probabilities))
    mean, std = inception_score(generated.probabilities[order], config.evaluation.is_splits)
    found = {
        "fid": frechet_distance(real.features, generated.features),
        "is_mean": mean,
        "is_std": std,
        "clip": cosine_similarity(generated.embeddings, real.embeddings),
    }
    if config.networks.features != "domain":
        found["kid_mean"], found["kid_std"] = kernel_distance(
            real.features,
            generated.features,
            subsets=config.evaluation.kid_subsets,
            size=config.evaluation.kid_subset_size,
            seed=mix_seed(config.evaluation.seed, "kid"),
            device=device,
        )
    return found


def objective(
    metrics: Mapping[str, float], original: Mapping[str, float], config: TrialConfig
) -> dict[str, float]:
    """Computes what the search reads, from the validation set alone.

    Returns:
        `val/objective`: log of the forget FD over the original's; `val/violation`: log of the
        retain FD over the most it may be, at or below 0 where the trial is feasible.

    Raises:
        NonFiniteError: a distance of 0, whose logarithm is infinite.
    """
    zero = [name for name in _COMPARED if not metrics[name] > 0.0 or not original[name] > 0.0]
    if zero:
        raise NonFiniteError(f"{', '.join(zero)} is 0: its ratio to the original's is not finite")
    most = (1.0 + config.evaluation.retain_tolerance) * original["val/retain/fid"]
    return {
        "val/objective": math.log(metrics["val/forget/fid"] / original["val/forget/fid"]),
        "val/violation": math.log(metrics["val/retain/fid"] / most),
    }


def measure_grey(model: CompletionModel, evaluator: Evaluator) -> dict[str, float]:
    """Measures completions that are flat grey: how bad one that knows nothing scores.

    Returns:
        The metrics of `evaluate`, each after `grey/`.
    """
    metrics: dict[str, float] = {}
    for name, rows in _measured_rows(evaluator.setup):
        found, _ = evaluator.measure(name, _greyed(model, evaluator.setup, rows))
        metrics |= {f"grey/{key}": value for key, value in found.items()}
    _refuse_non_finite(metrics)
    return metrics


def _measured_rows(setup: TrialSetup) -> Iterator[tuple[str, np.ndarray]]:
    for name, (split, role) in MEASURED.items():
        yield name, setup.dataset.rows(role, split)


def _finite(batches: Iterable[Tensor], name: str) -> Iterator[Tensor]:
    for images in batches:
        if not bool(torch.isfinite(images).all()):
            raise NonFiniteError(f"the completions of the {name} images are not finite")
        yield images


def _refuse_non_finite(metrics: Mapping[str, float]) -> None:
    wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
    if wrong:
        raise NonFiniteError(f"{', '.join(wrong)} is not finite")


def evaluate(
    model: CompletionModel, evaluator: Evaluator
) -> tuple[dict[str, float], dict[str, Arrays]]:
    """Measures a model's completions of every set.

    Returns:
        Every metric of every set, such as `val/retain/fid`, and what was extracted from the
        completions of each.

    Raises:
        NonFiniteError: a metric is NaN or infinite, which names it.
    """
    metrics: dict[str, float] = {}
    extracted: dict[str, Arrays] = {}
    for name, rows in _measured_rows(evaluator.setup):
        completed = _finite(_completions(model, evaluator.setup, rows), name)
        found, extracted[name] = evaluator.measure(name, completed)
        metrics |= found
    _refuse_non_finite(metrics)
    return metrics, extracted


def evaluate_further(model: CompletionModel, evaluator: Evaluator) -> dict[str, float]:
    """Measures a model on each further task as `evaluate` does on the test task.

    Returns:
        The metrics, each after its task's name: `centre_0.25/val/retain/fid`.

    Raises:
        NonFiniteError: as `evaluate`, with the task's name.
    """
    metrics: dict[str, float] = {}
    for setup in further_setups(evaluator.setup):
        task = setup.config.test_task
        try:
            found, _ = evaluate(model, dataclasses.replace(evaluator, setup=setup))
        except NonFiniteError as error:
            raise NonFiniteError(f"test task {task.name}: {error}") from None
        metrics |= {f"{task.name}/{name}": value for name, value in found.items()}
    return metrics


def further_setups(setup: TrialSetup) -> Iterator[TrialSetup]:
    """Yields the trial with each of its further tasks in place of its test task."""
    for task in setup.config.further_tests():
        yield dataclasses.replace(setup, config=dataclasses.replace(setup.config, test_task=task))
