"""Trains the small network that measures the embedded data, once, on that data's classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from trainables.config import to_dict
from trainables.data.batches import Pool
from trainables.evaluation.extractors import DomainCNN, jitter_colours
from trainables.models.checkpoints import save_weights
from trainables.training.context import TrialSetup
from trainables.utils.cache import build_once
from trainables.utils.errors import NonFiniteError
from trainables.utils.files import write_json
from trainables.utils.hashing import code_version
from trainables.utils.rng import mix_seed
from trainables.utils.threads import torch_threads


def extractor_folder(setup: TrialSetup) -> Path:
    """Trains the domain CNN unless the cache holds it; returns its folder."""
    config, dataset, context = setup.config, setup.dataset, setup.context
    material = {
        "extractor": to_dict(config.extractor),
        "data": dataset.fingerprint,
        "code": code_version(
            "trainables.evaluation.extractors",
            "trainables.data",
            "trainables.evaluation.domain_cnn",
            "trainables.utils.rng",
        ),
        "torch": str(torch.__version__),
    }

    def build(folder: Path) -> None:
        with torch_threads(1):
            network = _train_extractor(setup)
        save_weights(network, folder / "weights.safetensors")
        rows = np.concatenate([dataset.rows(role, "test") for role in ("retain", "forget")])
        network.eval()
        with torch.inference_mode():
            guessed = network(dataset.images(rows))[1].argmax(dim=1)
        accuracy = float((guessed == dataset.labels(rows)).float().mean())
        write_json(folder / "extractor.json", {"test_accuracy": accuracy})

    return build_once(context.cache, "extractor", material, build)


def _train_extractor(setup: TrialSetup) -> DomainCNN:
    options, dataset = setup.config.extractor, setup.dataset
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
        setup.context.report_steps("extractor", step + 1, options.steps)
    return network
