"""Estimates what a plan takes, in seconds and bytes, from the measured costs of each model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from platform.plan import resources
from platform.plan.costs import COSTS
from platform.plan.hardware import Machine, free_disk, has_disk
from platform.plan.plan import Outstanding, Plan
from trainables.config import TrialConfig
from trainables.data.splits import measured_classes
from trainables.shared.keys import shared_work, shared_work_keys
from trainables.shipped import retraining, shipped_retrained, shipped_weights

_STARTING = 12.0  # Ray, and the first import of torch in its workers
_TRAINER = 25.0  # workers of a trial by Ray Train
# cores that a GPU is worth, roughly: the paper's hours on an A40 make it 20 to 190
_GPU_CORES = 100.0
_EXTRACTOR_ROW = 6e-4
# an image through a network that measures; CLIP's is ViT-H-14's
_NETWORK_ROW = {"inception": 0.12, "places365": 0.1, "clip": 2.0}
_MEBIBYTE = 2**20
_RECORD_MB = 20  # MLflow's database, the report
_CACHE_MB = 36  # what the cache holds beside weights


def trial_seconds(config: TrialConfig, plan: Plan) -> float:
    """Returns the seconds that a trial of a plan takes on this kind of machine."""
    unlearn, cost = config.unlearn, COSTS[config.model]
    looks, rows = 1, 0
    if config.unlearns:
        looks = -(-unlearn.steps // unlearn.eval_every)
        rows = unlearn.steps * (unlearn.forget_batch + unlearn.retain_batch)
    trainer = _TRAINER if resources.uses_trainer(plan.launch) else 0.0
    training = rows * cost.unlearn_row / _speed(plan.launch.gpus_per_trial)
    # further tasks are measured on once, at the end
    looks += len(config.further_tests())
    # one process measures, whoever trains
    measuring = looks * _evaluation(config) / _speed(min(plan.launch.gpus_per_trial, 1.0))
    return training + measuring + cost.artifacts + trainer


def mean_trial_seconds(plan: Plan, left: Outstanding | None = None) -> float:
    """Returns the seconds that a trial of a plan, or of what is left of it, takes on average."""
    trials = (left and left.trials) or plan.trials
    each = [trial_seconds(trial.config, plan) for trial in trials]
    return sum(each) / max(len(each), 1)


def shared_seconds(plan: Plan, left: Outstanding | None = None) -> float:
    """Returns the seconds of the work that trials share, if none of it is in the cache."""
    if not (left or plan.whole).shared:
        return _STARTING
    work = shared_work(trial.config for trial in plan.trials)
    speed = _speed(min(plan.launch.gpus_per_trial, 1.0))
    pretraining = sum(
        COSTS[c.model].pretrain_row * c.pretrain.steps * c.pretrain.batch_size
        for c in _pretrained(work)
    )
    measuring = sum(
        _EXTRACTOR_ROW * c.extractor.steps * c.extractor.batch_size for c in work["extractor"]
    )
    # published weights are one original, and are measured on each data set
    originals = {_original_and_data(trial.config): trial.config for trial in plan.trials}
    completing = sum(map(_evaluation, originals.values()))
    return _STARTING + max(pretraining / speed, measuring) + completing / speed


def _original_and_data(config: TrialConfig) -> tuple[str, str]:
    keys = shared_work_keys(config)
    return keys["base"], keys["data"]


def total_seconds(plan: Plan, *machines: Machine, left: Outstanding | None = None) -> float:
    """Returns the seconds that a sweep takes on machines that are as fast as this one.

    Args:
        plan: the sweep.
        machines: the machines that it runs on; this one unless given.
        left: what of it is outstanding; all of it unless given.
    """
    waves = (left or plan.whole).total / resources.concurrency(plan, *machines)
    return shared_seconds(plan, left) + mean_trial_seconds(plan, left) * waves


def disk_bytes(plan: Plan, left: Outstanding | None = None) -> int:
    """Returns the bytes that a sweep may still write, with its record and its shared work.

    Args:
        plan: the sweep.
        left: what of it is outstanding; all of it unless given.
    """
    left = left or plan.whole
    if not left.total:
        return 0
    trials = [COSTS[trial.config.model].megabytes for trial in left.trials or plan.trials]
    mean = sum(trials) / max(len(trials), 1)
    # weights and two moments of a trial under way, and those of the snapshot that replaces them
    snapshots = 6 * mean * min(resources.concurrency(plan), left.total)
    shared = _shared_megabytes(plan) if left.shared else 0.0
    # the record holds each file once more
    return int((2 * mean * left.total + snapshots + _RECORD_MB + shared) * _MEBIBYTE)


def _shared_megabytes(plan: Plan) -> float:
    """Returns the size of the work that trials share, the weights of every original among it."""
    configs = [trial.config for trial in plan.trials]
    # told apart by their fields: the keys of shared work take seconds in a large sweep
    originals = {(c.model, c.checkpoint, c.pretrain, c.method == "retrained") for c in configs}
    return _CACHE_MB + sum(COSTS[model].megabytes for model, *_ in originals)


def disk_problems(plan: Plan, left: Outstanding | None = None) -> list[str]:
    """Returns a line where the storage has no room for what `disk_bytes` says; else none."""
    free, wanted = free_disk(plan.storage), disk_bytes(plan, left)
    if free >= wanted:
        return []
    if not has_disk(plan.storage):
        return [f"--storage {plan.storage}: nothing can be stored there, name another folder"]
    what = "the sweep" if left is None else "what is outstanding of the sweep"
    return [
        f"--storage {plan.storage} has {megabytes(free)} free and {what} may take "
        f"{megabytes(wanted)}: make room, or name another folder"
    ]


def _speed(gpus: float) -> float:
    """Returns how much faster than a core GPUs are; a share of one is worth its share of cores."""
    return max(gpus * _GPU_CORES, 1.0)


def _pretrained(work: Mapping[str, Iterable[TrialConfig]]) -> Iterator[TrialConfig]:
    """Yields a configuration for each model pretrained here, originals before retrained ones."""
    yield from filter(is_pretrained, work["base"])
    yield from (retraining(each) for each in work["retrained"] if shipped_retrained(each) is None)


def is_pretrained(config: TrialConfig) -> bool:
    """Tells whether the original of a trial is trained here, unless the cache holds it."""
    return not config.checkpoint and shipped_weights(config) is None


def _evaluation(config: TrialConfig) -> float:
    """Returns the seconds that a core takes to complete and measure all measured images."""
    images = measured_classes(config.data) * (
        config.data.val_per_class + config.data.test_per_class
    )
    measuring = sum(_NETWORK_ROW[name] for name in config.networks.weights())
    cost = COSTS[config.model]
    sampled = (config.sampling.steps or cost.sampling_steps) / cost.sampling_steps
    return (cost.complete_row * sampled + measuring) * images


def megabytes(size: int) -> str:
    """Puts bytes into words, such as `512 MB` or `23 GB`."""
    return f"{size / _MEBIBYTE:,.0f} MB" if size < 2**34 else f"{size / 2**30:,.0f} GB"
