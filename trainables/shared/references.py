"""Measures what every trial is compared with, once: the real images and the original."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainables.config import to_dict
from trainables.evaluation.evaluate import (
    MEASURED,
    Evaluator,
    evaluate,
    extract_real,
    measure_grey,
)
from trainables.evaluation.extractors import Arrays, Extractor, extractor_folder
from trainables.evaluation.pretrained_weights import Weights, material
from trainables.models import CompletionModel
from trainables.shared.base_models import load_base
from trainables.training.context import TrialSetup
from trainables.utils.cache import build_once
from trainables.utils.files import write_json
from trainables.utils.hashing import code_version
from trainables.utils.threads import torch_threads

_MEASURING = (
    "trainables.evaluation.clip",
    "trainables.evaluation.evaluate",
    "trainables.evaluation.extractors",
    "trainables.evaluation.networks",
    "trainables.evaluation.pretrained_weights",
    "trainables.metrics",
)


@dataclass(frozen=True)
class Reference:
    """What every trial of a sweep is compared with.

    Attributes:
        real: what is extracted from the real images, by the names of `MEASURED`.
        original: what is extracted from the original's completions, by the same names.
        metrics: metrics of the original, and under `grey/` those of flat grey completions.
    """

    real: Mapping[str, Arrays]
    original: Mapping[str, Arrays]
    metrics: Mapping[str, float]


def reference(
    setup: TrialSetup, base: Path, extractor: Extractor, weights: Mapping[str, Weights]
) -> Reference:
    """Measures the real images and the original's completions unless the cache holds them."""
    config = setup.config
    evaluator = Evaluator(setup, extractor, real_arrays(setup, extractor, weights))
    compared = {
        # weights from elsewhere and the paper's networks say nothing of the images
        "data": setup.dataset.fingerprint,
        "base": base.name,
        "task": to_dict(config.test_task),
        "sampling": to_dict(config.canonical().sampling),
        "evaluation": to_dict(config.evaluation),
        # the same weights complete otherwise by another model
        "models": code_version("trainables.models", "trainables.utils.rng"),
        **_measuring(setup, weights),
    }

    def build(folder: Path) -> None:
        metrics, original = measure_original(load_base(setup, base), evaluator)
        _write_arrays(folder / "original.npz", original)
        write_json(folder / "metrics.json", metrics)

    folder = build_once(setup.context.cache, "reference", compared, build)
    metrics = json.loads((folder / "metrics.json").read_text())
    return Reference(evaluator.real, _read_arrays(folder / "original.npz"), metrics)


def real_arrays(
    setup: TrialSetup, extractor: Extractor, weights: Mapping[str, Weights]
) -> dict[str, Arrays]:
    """Extracts from the real images, whatever is compared with them, unless the cache holds it."""
    measuring = {"data": setup.dataset.fingerprint, **_measuring(setup, weights)}

    def build(folder: Path) -> None:
        with torch_threads(1):
            found = extract_real(extractor, setup)
        _write_arrays(folder / "real.npz", found)

    return _read_arrays(build_once(setup.context.cache, "real", measuring, build) / "real.npz")


def _measuring(setup: TrialSetup, weights: Mapping[str, Weights]) -> dict[str, Any]:
    """Returns what names the networks that measure, and their code, in the cache."""
    domain = "domain" in setup.config.networks.parts().values()
    return {
        "extractor": extractor_folder(setup).name if domain else None,
        "networks": material(setup.config.networks, weights),
        "code": code_version(*_MEASURING),
    }


def measure_original(
    model: CompletionModel, evaluator: Evaluator
) -> tuple[dict[str, float], dict[str, Arrays]]:
    """Returns the metrics of an original and of grey completions, and what the former gave."""
    with torch_threads(1):
        metrics, original = evaluate(model, evaluator)
        metrics |= measure_grey(model, evaluator)
    return metrics, original


_PARTS = ("features", "probabilities", "embeddings")


def _write_arrays(path: Path, sets: Mapping[str, Arrays]) -> None:
    arrays = {
        f"{name}:{part}": value for name, each in sets.items() for part, value in vars(each).items()
    }
    np.savez(path, **arrays)


def _read_arrays(path: Path) -> dict[str, Arrays]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: Arrays(*(stored[f"{name}:{part}"] for part in _PARTS)) for name in MEASURED}
