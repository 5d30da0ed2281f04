"""Work that trials share, kept by content: what measures, the original, and their figures.

A stage is a finished folder named by a hash of everything that can change it (configuration, data,
source code), so that a
later sweep finds it, and a change anywhere makes a new one.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import Tensor, nn

from trainables.config import NetworksConfig, TrialConfig, to_dict
from trainables.data import Dataset, load
from trainables.evaluation.domain_cnn import extractor_folder
from trainables.evaluation.evaluate import MEASURED, Arrays, evaluate, extract_real, measure_grey
from trainables.evaluation.extractors import DomainCNN, Extractor
from trainables.evaluation.networks import Networks
from trainables.evaluation.pretrained_weights import Weights, find_weights, load_networks, material
from trainables.models import CompletionModel
from trainables.shared.base_models import base_model, load_base, load_built, retrained_model
from trainables.shared.tokens import CachedTokens, kept_tokens
from trainables.training.context import Context
from trainables.utils.cache import build_once
from trainables.utils.files import write_json
from trainables.utils.hashing import code_version
from trainables.utils.threads import torch_threads

_MEASURING = (
    "trainables.evaluation.evaluate",
    "trainables.evaluation.extractors",
    "trainables.evaluation.networks",
    "trainables.evaluation.pretrained_weights",
    "trainables.evaluation.resize",
    "trainables.metrics",
)


@dataclass(frozen=True)
class Reference:
    """What every trial of a sweep is compared with.

    Attributes:
        real: of the real images, by the names of `MEASURED`.
        original: of the original model's completions.
        metrics: of the original model, and under `grey/` of flat grey completions.
    """

    real: Mapping[str, Arrays]
    original: Mapping[str, Arrays]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Prepared:
    """Everything a trial starts from.

    Attributes:
        dataset: images and roles.
        base: folder of the original model, `weights.safetensors` in it.
        extractor: what measures, in evaluation mode on the context's device.
        weights: files of the paper's networks in it.
        reference: real images and the original, measured.
        tokens: of the training images, where the trial reads these in place of the images.
        noise: inputs of noise images that the trial draws from, by name; empty for new ones.
        retrained: folder of the model that never met the forget classes, where the trial is its.
    """

    dataset: Dataset
    base: Path
    extractor: Extractor
    weights: Mapping[str, Weights]
    reference: Reference
    tokens: CachedTokens | None = None
    noise: Mapping[str, Tensor] = field(default_factory=dict)
    retrained: Path | None = None


def prepare(config: TrialConfig, context: Context) -> Prepared:
    """Builds, or finds, all that trials share. Slow only where a stage is absent."""
    # first: what is wrong with a file of weights is told before any work
    weights = find_weights(config.networks, context.cache)
    published = _networks(config.networks, tuple(weights.items()))
    dataset = load(config.data, context.cache)
    extractor = load_extractor(config, dataset, context, published)
    base = base_model(config, dataset, context)
    compared = reference(config, dataset, base, extractor, weights, context)
    tokens, noise = kept_tokens(config, dataset, base, context)
    retrained = None
    if config.method == "retrained":
        retrained = retrained_model(config, dataset, context)
    return Prepared(dataset, base, extractor, weights, compared, tokens, noise, retrained)


def load_models(
    config: TrialConfig, prepared: Prepared, context: Context
) -> tuple[CompletionModel, CompletionModel]:
    """The model that a trial begins with, and the frozen original that it is compared with."""
    original = load_base(config, prepared.base, context)
    teacher = copy.deepcopy(original).requires_grad_(False)
    if prepared.retrained is None:
        return original, teacher
    return load_base(config, prepared.retrained, context), teacher


@functools.lru_cache(maxsize=1)
def _networks(
    config: NetworksConfig, weights: tuple[tuple[str, Weights], ...]
) -> dict[str, nn.Module]:
    """The paper's networks, read once for all trials of a process: CLIP's are gigabytes."""
    return load_networks(config, dict(weights))


def load_extractor(
    config: TrialConfig,
    dataset: Dataset,
    context: Context,
    published: Mapping[str, nn.Module] = MappingProxyType({}),
) -> Extractor:
    """What measures: the domain CNN, trained on the classes of the training images, or others.

    Args:
        config: says by which networks.
        dataset: of the domain CNN.
        context: gives the device.
        published: the paper's networks that the configuration asks for.
    """
    parts = config.networks.parts()
    networks = dict(published)
    if "domain" in parts.values():
        domain = DomainCNN(len(dataset.classes), config.extractor.dim)
        load_built(domain, extractor_folder(config, dataset, context))
        if not published:
            return domain.eval().to(context.device)
        networks["domain"] = domain
    return Networks(networks, parts, config.networks.batch_size).eval().to(context.device)


def _measuring(
    config: TrialConfig, dataset: Dataset, weights: Mapping[str, Weights], context: Context
) -> dict[str, Any]:
    """What names the networks that measure, and their code, in the cache."""
    domain = "domain" in config.networks.parts().values()
    return {
        "extractor": extractor_folder(config, dataset, context).name if domain else None,
        "networks": material(config.networks, weights),
        "code": code_version(*_MEASURING),
    }


def real_arrays(
    config: TrialConfig,
    dataset: Dataset,
    extractor: Extractor,
    weights: Mapping[str, Weights],
    context: Context,
) -> dict[str, Arrays]:
    """What is extracted from the real images, whatever is compared with them; made once.

    Returns:
        By the names of `MEASURED`.
    """
    measuring = {"data": dataset.fingerprint, **_measuring(config, dataset, weights, context)}

    def build(folder: Path) -> None:
        with torch_threads(1):
            found = extract_real(extractor, dataset, config)
        _write_arrays(folder / "real.npz", found)

    return _read_arrays(build_once(context.cache, "real", measuring, build) / "real.npz")


def reference(
    config: TrialConfig,
    dataset: Dataset,
    base: Path,
    extractor: Extractor,
    weights: Mapping[str, Weights],
    context: Context,
) -> Reference:
    """Measures the real images and the original's completions unless the cache holds them."""
    real = real_arrays(config, dataset, extractor, weights, context)
    compared = {
        "base": base.name,
        "task": to_dict(config.test_task),
        "sampling": to_dict(config.canonical().sampling),
        "evaluation": to_dict(config.evaluation),
        # the same weights complete otherwise by another model
        "models": code_version("trainables.models", "trainables.utils.rng"),
        **_measuring(config, dataset, weights, context),
    }

    def build(folder: Path) -> None:
        model = load_base(config, base, context)
        metrics, original = measure_original(model, extractor, dataset, real, config)
        _write_arrays(folder / "original.npz", original)
        write_json(folder / "metrics.json", metrics)

    folder = build_once(context.cache, "reference", compared, build)
    metrics = json.loads((folder / "metrics.json").read_text())
    return Reference(real, _read_arrays(folder / "original.npz"), metrics)


def measure_original(
    model: CompletionModel,
    extractor: Extractor,
    dataset: Dataset,
    real: Mapping[str, Arrays],
    config: TrialConfig,
) -> tuple[dict[str, float], dict[str, Arrays]]:
    """Metrics of an original and of grey completions, and what was extracted from the former."""
    with torch_threads(1):
        metrics, original = evaluate(model, extractor, dataset, real, config)
        metrics |= measure_grey(model, extractor, dataset, real, config)
    return metrics, original


_PARTS = ("features", "probabilities", "embeddings")


def _write_arrays(path: Path, sets: Mapping[str, Arrays]) -> None:
    arrays = {
        f"{name}:{part}": getattr(each, part) for name, each in sets.items() for part in _PARTS
    }
    np.savez(path, **arrays)


def _read_arrays(path: Path) -> dict[str, Arrays]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: Arrays(*(stored[f"{name}:{part}"] for part in _PARTS)) for name in MEASURED}


def check_networks(config: TrialConfig, context: Context) -> None:
    """Finds and reads the weights of the paper's networks, to tell of their faults before any work.

    Raises:
        CheckpointError: weights that are absent or refused, in one line.
    """
    load_networks(config.networks, find_weights(config.networks, context.cache))
