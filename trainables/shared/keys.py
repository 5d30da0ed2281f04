"""Decides which trials share work, from their configurations alone; imports no torch.

Trials whose keys of a kind are equal share one piece of that work. The cache names the finished
work by the same values, with the content of files and images in place of their names.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from trainables.config import TrialConfig, to_dict
from trainables.shipped import retraining, shipped_retrained, shipped_weights
from trainables.utils.hashing import content_key

# the sections that decide, beside the original, what a reference holds
_MEASURING = ("test_task", "sampling", "evaluation", "networks")


def original_values(config: TrialConfig) -> dict[str, Any]:
    """Returns what makes two originals equal: their weights' files, or how they are pretrained."""
    shipped = shipped_weights(config)
    if config.checkpoint:
        return _read_from("checkpoint", config, *config.checkpoint)
    if shipped:
        return _read_from("shipped", config, str(shipped))
    return _pretrained(config)


def retrained_values(config: TrialConfig) -> dict[str, Any]:
    """Returns what makes two models equal that never met the forget classes."""
    shipped = shipped_retrained(config)
    if shipped:
        return _read_from("shipped", config, str(shipped))
    return {**_pretrained(retraining(config)), "without": "forget"}


def _read_from(source: str, config: TrialConfig, *files: str) -> dict[str, Any]:
    image_size = config.data.image_size
    return {"model": config.model, "image_size": image_size, "source": source, "files": files}


def _pretrained(config: TrialConfig) -> dict[str, Any]:
    return {
        "model": config.model,
        # that no shipped weights were wanted changes no training
        "pretrain": to_dict(dataclasses.replace(config.pretrain, shipped=True)),
        "tasks": [to_dict(task) for task in config.pretraining_tasks()],
        "data": to_dict(config.data),
    }


def shared_work_keys(config: TrialConfig) -> dict[str, str]:
    """Returns the key of every piece of shared work that a trial needs, by its kind.

    The kinds are `data`, `base` (the original) and `reference`, and, for trials that need them,
    `extractor` (the domain CNN), `networks`, `retrained` and `tokens`.
    """
    config = config.canonical()
    unlearn = config.unlearn
    data, base = to_dict(config.data), original_values(config)
    extractor = {"data": data, "extractor": to_dict(config.extractor)}
    measuring = {name: to_dict(getattr(config, name)) for name in _MEASURING}
    values: dict[str, Any] = {
        "data": data,
        "base": base,
        "reference": {"base": base, **extractor, **measuring},
    }
    if config.method == "retrained":
        values["retrained"] = retrained_values(config)
    if config.unlearns and (unlearn.noise_bank or unlearn.token_cache):
        values["tokens"] = {
            "base": base,
            "data": data,
            "rows": sorted(config.batch_rows()) if unlearn.token_cache else [],
            "ratios": (unlearn.retainset_ratio, unlearn.opendata_to_forget_ratio),
            "noise": unlearn.noise_bank,
        }
    if config.networks.weights():
        values["networks"] = measuring["networks"]
    if "domain" in config.networks.parts().values():
        values["extractor"] = extractor
    return {kind: content_key(each) for kind, each in values.items()}


def shared_work(configs: Iterable[TrialConfig]) -> defaultdict[str, list[TrialConfig]]:
    """Returns, by kind, one configuration for every piece of work that some trials share."""
    found: defaultdict[str, dict[str, TrialConfig]] = defaultdict(dict)
    for config in configs:
        for kind, key in shared_work_keys(config).items():
            found[kind].setdefault(key, config)
    return defaultdict(list, {kind: list(each.values()) for kind, each in found.items()})
