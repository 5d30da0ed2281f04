"""Work that trials share, kept by content: extractor, original model, the original's figures.

A stage is a finished folder named by a hash of everything that can change it (configuration, data,
source code), so that a
later sweep finds it, and a change anywhere makes a new one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from trainables.base_models import base_model, load_base, load_built
from trainables.cache import build_once, code_version
from trainables.checkpoints import save_weights
from trainables.config import TrialConfig, content_key, to_dict
from trainables.context import Context
from trainables.data import Dataset, load
from trainables.data.noise import mix_seed
from trainables.errors import NonFiniteError
from trainables.evaluation import MEASURED, Arrays, evaluate, extract, measure_grey
from trainables.metrics.extractors import DomainCNN, jitter_colours
from trainables.models import CompletionModel
from trainables.training import Pool, threads


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
        reference: real images and the original, measured.
    """

    dataset: Dataset
    base: Path
    extractor: DomainCNN
    reference: Reference


def prepare(config: TrialConfig, context: Context) -> Prepared:
    """Builds, or finds, all that trials share. Slow only where a stage is absent."""
    dataset = load(config.data, context.cache)
    extractor = load_extractor(config, dataset, context)
    base = base_model(config, dataset, context)
    return Prepared(dataset, base, extractor, reference(config, dataset, base, extractor, context))


def load_extractor(config: TrialConfig, dataset: Dataset, context: Context) -> DomainCNN:
    """The domain CNN of a data set, trained on the classes of its training images."""
    folder = extractor_folder(config, dataset, context)
    network = DomainCNN(len(dataset.classes), config.extractor.dim)
    load_built(network, folder)
    return network.eval().to(context.device)


def extractor_folder(config: TrialConfig, dataset: Dataset, context: Context) -> Path:
    """Trains the extractor unless the cache holds it; returns its folder."""
    material = {
        "extractor": to_dict(config.extractor),
        "data": dataset.fingerprint,
        "code": code_version(
            "trainables.metrics.extractors",
            "trainables.data",
            "trainables.training",
            "trainables.stages",
        ),
        "torch": str(torch.__version__),
    }

    def build(folder: Path) -> None:
        with threads(1):
            network = _train_extractor(config, dataset, context)
        save_weights(network, folder / "weights.safetensors")
        rows = np.concatenate([dataset.rows(role, "test") for role in ("retain", "forget")])
        network.eval()
        with torch.inference_mode():
            guessed = network(dataset.images(rows))[1].argmax(dim=1)
        accuracy = float((guessed == dataset.labels(rows)).float().mean())
        (folder / "extractor.json").write_text(json.dumps({"test_accuracy": accuracy}))

    return build_once(context.cache, "extractor", material, build)


def _train_extractor(config: TrialConfig, dataset: Dataset, context: Context) -> DomainCNN:
    options = config.extractor
    torch.manual_seed(mix_seed(options.seed, "extractor"))
    network = DomainCNN(len(dataset.classes), options.dim)
    optimiser = torch.optim.AdamW(network.parameters(), lr=options.lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.lr, options.steps)
    pool = Pool(dataset.rows("all", "train"), options.batch_size, False, "extractor")
    chance = torch.Generator().manual_seed(mix_seed(options.seed, "jitter"))
    for step in range(options.steps):
        rows = pool.draw(options.seed, step)
        logits = network(jitter_colours(dataset.images(rows), options.jitter, chance))[1]
        loss = functional.cross_entropy(logits, dataset.labels(rows), label_smoothing=0.1)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        if not bool(torch.isfinite(loss)):
            raise NonFiniteError(f"extractor step {step + 1}: loss {float(loss):g}")
        context.progress("extractor", step + 1, options.steps)
    return network


def reference(
    config: TrialConfig,
    dataset: Dataset,
    base: Path,
    extractor: DomainCNN,
    context: Context,
) -> Reference:
    """Measures the real images and the original's completions unless the cache holds them."""
    material = {
        "base": base.name,
        "extractor": extractor_folder(config, dataset, context).name,
        "task": to_dict(config.test_task),
        "sampling": to_dict(config.canonical().sampling),
        "evaluation": to_dict(config.evaluation),
        "code": code_version("trainables.evaluation", "trainables.metrics"),
    }

    def build(folder: Path) -> None:
        model = load_base(config, base, context)
        metrics, real, original = measure_original(model, extractor, dataset, config)
        arrays = {
            f"{kind}:{name}:{part}": getattr(of, part)
            for kind, sets in (("real", real), ("original", original))
            for name, of in sets.items()
            for part in ("features", "probabilities", "embeddings")
        }
        np.savez(folder / "reference.npz", **arrays)
        (folder / "metrics.json").write_text(json.dumps(metrics))

    folder = build_once(context.cache, "reference", material, build)
    return _read_reference(folder)


def measure_original(
    model: CompletionModel, extractor: DomainCNN, dataset: Dataset, config: TrialConfig
) -> tuple[dict[str, float], dict[str, Arrays], dict[str, Arrays]]:
    """Metrics of an original and of grey completions, and what was extracted from the images.

    Returns:
        The metrics, the real images' arrays and those of the completions, by `MEASURED`'s names.
    """
    with threads(1):
        real = {
            name: extract(
                extractor, dataset.images(dataset.rows(role, split)), config.evaluation.batch_size
            )
            for name, (split, role) in MEASURED.items()
        }
        metrics, original = evaluate(model, extractor, dataset, real, config)
        metrics |= measure_grey(model, extractor, dataset, real, config)
    return metrics, real, original


def _read_reference(folder: Path) -> Reference:
    with np.load(folder / "reference.npz", allow_pickle=False) as stored:
        sets = {
            kind: {
                name: Arrays(
                    *(
                        stored[f"{kind}:{name}:{part}"]
                        for part in ("features", "probabilities", "embeddings")
                    )
                )
                for name in MEASURED
            }
            for kind in ("real", "original")
        }
    metrics = json.loads((folder / "metrics.json").read_text())
    return Reference(sets["real"], sets["original"], metrics)


def stage_keys(config: TrialConfig) -> dict[str, str]:
    """Shared work by name, each with a key that its configuration alone gives."""
    data = {"data": to_dict(config.data)}
    extractor = data | {"extractor": to_dict(config.extractor)}
    base = data | {
        "model": config.model,
        "pretrain": to_dict(config.pretrain),
        "checkpoint": config.checkpoint,
    }
    whole = (
        extractor
        | base
        | {
            "test": to_dict(config.test_task),
            "sampling": to_dict(config.canonical().sampling),
            "evaluation": to_dict(config.evaluation),
        }
    )
    return {
        "data": content_key(data),
        "extractor": content_key(extractor),
        "base": content_key(base),
        "reference": content_key(whole),
    }
