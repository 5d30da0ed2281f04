"""What a plan takes: seconds and bytes, from what each size of model was measured to take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from optuna.distributions import BaseDistribution, CategoricalDistribution

from platform.plan import resources
from platform.plan.costs import COSTS
from platform.plan.plan import Plan
from platform.plan.resources import Machine
from trainables.config import TrialConfig
from trainables.data.splits import measured_classes
from trainables.shared.keys import shared_work
from trainables.shipped import retraining, shipped_retrained, shipped_weights
from trainables.utils.text import duration

_STARTING = 12.0  # Ray, and the first import of torch in its workers
_TRAINER = 25.0  # workers of a trial by Ray Train
# cores that a GPU is worth, roughly: the paper's hours on an A40 make it 20 to 190
_GPU_CORES = 100.0
_EXTRACTOR_ROW = 6e-4
# an image through a network that measures; CLIP's is ViT-H-14's
_NETWORK_ROW = {"inception": 0.12, "places365": 0.1, "clip": 2.0}
_MEBIBYTE = 2**20


def trial_seconds(config: TrialConfig, plan: Plan) -> float:
    """Seconds of a trial of a plan, on this kind of machine."""
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


def mean_trial_seconds(plan: Plan) -> float:
    """Seconds of a plan's trial, on average."""
    each = [trial_seconds(trial.config, plan) for trial in plan.trials]
    return sum(each) / max(len(each), 1)


def shared_seconds(plan: Plan) -> float:
    """Seconds of the work that trials share, if none of it is in the cache."""
    work = shared_work(trial.config for trial in plan.trials)
    speed = _speed(min(plan.launch.gpus_per_trial, 1.0))
    pretraining = sum(
        COSTS[c.model].pretrain_row * c.pretrain.steps * c.pretrain.batch_size
        for c in _pretrained(work)
    )
    measuring = sum(
        _EXTRACTOR_ROW * c.extractor.steps * c.extractor.batch_size for c in work["extractor"]
    )
    completing = sum(map(_evaluation, work["base"]))
    return _STARTING + max(pretraining / speed, measuring) + completing / speed


def total_seconds(plan: Plan, *machines: Machine) -> float:
    """Seconds of the sweep, on machines that are as fast as this one."""
    waves = plan.total / resources.concurrency(plan, *machines)
    return shared_seconds(plan) + mean_trial_seconds(plan) * waves


def disk_bytes(plan: Plan) -> int:
    """Bytes that the sweep leaves, its record and its shared work among them."""
    trials = sum(COSTS[trial.config.model].megabytes for trial in plan.trials)
    mean = trials / max(len(plan.trials), 1)
    # weights and two moments of a trial under way, and those of the snapshot that replaces them
    snapshots = 6 * mean * resources.concurrency(plan)
    # the record holds each file once more
    return int((2 * mean * plan.total + snapshots + 60) * _MEBIBYTE)


def disk_problems(plan: Plan) -> list[str]:
    """A line where the storage has no room for the sweep."""
    free, wanted = resources.free_disk(plan.storage), disk_bytes(plan)
    if free >= wanted:
        return []
    return [
        f"--storage {plan.storage} has {_megabytes(free)} free and the sweep may take "
        f"{_megabytes(wanted)}: make room, or name another folder"
    ]


def _speed(gpus: float) -> float:
    """How much faster than a core: a share of a GPU is worth its share of cores."""
    return max(gpus * _GPU_CORES, 1.0)


def _pretrained(work: Mapping[str, Iterable[TrialConfig]]) -> Iterator[TrialConfig]:
    """Yields a configuration a model that is pretrained here, originals before retrained ones."""
    yield from filter(_is_pretrained, work["base"])
    yield from (retraining(each) for each in work["retrained"] if shipped_retrained(each) is None)


def _retrained(plan: Plan) -> list[TrialConfig]:
    return [trial.config for trial in plan.trials if trial.config.method == "retrained"]


def _is_pretrained(config: TrialConfig) -> bool:
    return not config.checkpoint and shipped_weights(config) is None


def _evaluation(config: TrialConfig) -> float:
    images = measured_classes(config.data) * (
        config.data.val_per_class + config.data.test_per_class
    )
    measuring = sum(_NETWORK_ROW[name] for name in config.networks.weights())
    cost = COSTS[config.model]
    sampled = (config.sampling.steps or cost.sampling_steps) / cost.sampling_steps
    return (cost.complete_row * sampled + measuring) * images


def describe(plan: Plan, *machines: Machine, resumed: bool = False) -> list[str]:
    """The plan in words: its trials, what they run on, time and disk.

    Args:
        plan: the sweep.
        machines: that it runs on; this one unless given.
        resumed: say that it goes on.
    """
    machines = machines or (resources.available(),)
    launch = plan.launch
    how = "by Ray Train" if resources.uses_trainer(launch) else "each in a process of its own"
    at_once = resources.concurrency(plan, *machines)
    gpus = f" and {launch.gpus_per_trial:g} GPU(s)" if launch.gpus_per_trial else ""
    later = plan.total - len(plan.trials)
    return [
        f"{plan.study}: {plan.question}",
        f"sweep {plan.name}, {'resumed' if resumed else 'new'}, in {plan.folder}/",
        *_table(plan),
        *([f"... and {later} that follow from the results of these"] if later else []),
        f"{plan.total} trials: {', '.join(_kinds(plan))}",
        *_spaces(plan),
        *_originals(plan),
        f"a trial takes {resources.cpus_per_trial(launch):g} CPU(s){gpus}, {how}; "
        f"here are {resources.describe(*machines)}: {at_once} at once",
        f"time: about {duration(total_seconds(plan, *machines))}, of it at most "
        f"{duration(shared_seconds(plan))} for work that trials share",
        f"disk: about {_megabytes(disk_bytes(plan))}, and "
        f"{_megabytes(resources.free_disk(plan.storage))} are free",
        "Nothing was started and nothing was written.",
    ]


def _kinds(plan: Plan) -> list[str]:
    """How many trials there are of each kind, in words."""
    found: Counter[str] = Counter(trial.kind for trial in plan.trials)
    for group in plan.groups:
        found["search"] += max(0, group.trials - plan.search.sobol_trials)
        found["replicate"] += group.replicates
    words = {
        "default": "at their defaults",
        "grid": "enumerated",
        "point": "at fixed points",
        "search": "searched",
        "replicate": "with further seeds",
    }
    return [f"{found[kind]} {told}" for kind, told in words.items() if found[kind]]


def _originals(plan: Plan) -> list[str]:
    """Where the original models come from, and those without forget classes, a line each."""
    return [
        *sorted({f"original: {_original(trial.config)}" for trial in plan.trials}),
        *sorted({f"retrained: {_without_forget(config)}" for config in _retrained(plan)}),
    ]


def _original(config: TrialConfig) -> str:
    if config.checkpoint:
        return f"{config.model} from {', '.join(config.checkpoint)}"
    if not _is_pretrained(config):
        return f"{config.model} as it comes with the product"
    return (
        f"{config.model} pretrained here on {config.data.source}, {config.pretrain.steps} steps, "
        "unless the cache holds it"
    )


def _without_forget(config: TrialConfig) -> str:
    if shipped_retrained(config):
        return f"{config.model} without the forget classes as it comes with the product"
    steps = retraining(config).pretrain.steps
    recipe = " by the recipe of the original" if shipped_weights(config) else ""
    return (
        f"{config.model} pretrained here without the forget classes{recipe}, {steps} steps, "
        "unless the cache holds it"
    )


def _table(plan: Plan) -> list[str]:
    heads = ("trial", "key", "model", "alpha", "rate", "steps", "retain rows")
    rows = [heads]
    for trial in plan.trials:
        config = trial.config
        moved = config.unlearns
        rows.append(
            (
                trial.name,
                trial.key,
                config.model,
                f"{config.forget_alpha:.3g}" if moved else "",
                f"{config.unlearn.lr:.2g}" if moved else "",
                str(config.unlearn.steps) if moved else "",
                config.retain_source if moved else "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in rows
    ]


def _spaces(plan: Plan) -> list[str]:
    """What is searched, a line a distinct space."""
    lines = {
        ", ".join(f"{name} {_axis(axis)}" for name, axis in group.space.items())
        + f", {group.trials} trials a variant"
        for group in plan.groups
        if group.trials
    }
    return [f"searched: {line}" for line in sorted(lines)]


def _axis(axis: BaseDistribution) -> str:
    if isinstance(axis, CategoricalDistribution):
        return f"in {', '.join(map(str, axis.choices))}"
    scale = " (log)" if axis.log else ""  # type: ignore[attr-defined]
    return f"{axis.low:g} to {axis.high:g}{scale}"  # type: ignore[attr-defined]


def _megabytes(size: int) -> str:
    return f"{size / _MEBIBYTE:,.0f} MB" if size < 2**34 else f"{size / 2**30:,.0f} GB"
