"""Shows what a call can name and what it would do: the studies, the fields, the plan of a sweep."""

from __future__ import annotations

import dataclasses
from collections import Counter

from optuna.distributions import BaseDistribution, CategoricalDistribution

from platform.plan import estimate, hardware, resources
from platform.plan.hardware import Machine
from platform.plan.plan import Outstanding, Plan
from search_spaces import STUDIES, SearchConfig
from trainables.config import TrialConfig, to_dict
from trainables.shipped import retraining, shipped_retrained, shipped_weights
from trainables.utils.text import counted, duration, flatten


def studies() -> list[str]:
    """Returns a line for each study: its name, its question, its cost."""
    width = max(len(name) for name in STUDIES)
    return [f"{name:<{width}}  {study.question} ({study.cost})" for name, study in STUDIES.items()]


def fields() -> list[str]:
    """Returns a line for each field that `--set` takes, with its default."""
    usual = flatten(to_dict(TrialConfig()))
    usual |= {f"search.{name}": value for name, value in dataclasses.asdict(SearchConfig()).items()}
    width = max(map(len, usual))
    return [
        f"{name:<{width}}  {','.join(value) if isinstance(value, list) else value}".rstrip()
        for name, value in usual.items()
    ]


def describe(
    plan: Plan, *machines: Machine, resumed: bool = False, left: Outstanding | None = None
) -> list[str]:
    """Puts a plan into words: its trials, what they run on, time and disk.

    Args:
        plan: the sweep.
        machines: the machines that the trials run on; this one unless given.
        resumed: whether the sweep goes on, rather than being new.
        left: what of a resumed sweep is outstanding; all of it where that is not known.

    Returns:
        The lines of a dry run.
    """
    machines = machines or (hardware.this_machine(),)
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
        *([f"{counted(left.total, 'trial')} outstanding"] if left else []),
        *_spaces(plan),
        *_originals(plan),
        f"a trial takes {resources.cpus_per_trial(launch):g} CPU(s){gpus}, {how}; "
        f"here are {hardware.describe(*machines)}: {at_once} at once",
        f"time: about {duration(estimate.total_seconds(plan, *machines, left=left))}, of it at "
        f"most {duration(estimate.shared_seconds(plan, left))} for work that trials share",
        f"disk: about {estimate.megabytes(estimate.disk_bytes(plan, left))}, and "
        f"{estimate.megabytes(hardware.free_disk(plan.storage))} are free",
        "Nothing was started and nothing was written.",
    ]


def _kinds(plan: Plan) -> list[str]:
    """Returns how many trials there are of each kind, in words."""
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
    """Tells where original and retrained models come from, a line each."""
    retrained = [trial.config for trial in plan.trials if trial.config.method == "retrained"]
    return [
        *sorted({f"original: {_original(trial.config)}" for trial in plan.trials}),
        *sorted({f"retrained: {_without_forget(config)}" for config in retrained}),
    ]


def _original(config: TrialConfig) -> str:
    if config.checkpoint:
        return f"{config.model} from {', '.join(config.checkpoint)}"
    if not estimate.is_pretrained(config):
        return f"{config.model} as it comes with the product"
    return (
        f"{config.model} pretrained here on {config.data.name}, {config.pretrain.steps} steps, "
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
        config, unlearn = trial.config, trial.config.unlearn
        moves = (f"{config.forget_alpha:.3g}", f"{unlearn.lr:.2g}", str(unlearn.steps))
        last = (*moves, config.retain_source) if config.unlearns else ("", "", "", "")
        rows.append((trial.name, trial.key, config.model, *last))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in rows
    ]


def _spaces(plan: Plan) -> list[str]:
    """Returns a line for each distinct space that is searched."""
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
