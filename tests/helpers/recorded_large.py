"""A recorded sweep of many trials: seeds, repetitions, further test tasks, every state.

The figures are synthetic; plan, results and the files of a few trials are by the project's own
writers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution

from platform.plan.plan import Group, Plan, PlannedTrial
from platform.plan.serialization import write_plan
from platform.storage.environment import write_environment
from platform.storage.results import State, result_row, write_results
from tests.helpers.recorded import EXTRACTORS, leave_files
from trainables.config import TrialConfig, UnlearnConfig

VARIANTS = ("max_loss", "noisy_label", "retain_label", "random_encoder", "ours", "ours_proxy")
SEEDS = (0, 1, 2)
SPACE = {
    "forget_alpha": FloatDistribution(0.05, 1.0, log=True),
    "unlearn.lr": FloatDistribution(3e-4, 3e-3, log=True),
}
LATER = ("point", "number", "pretrain_seed", "evaluation_seed", "params", "config")
TASKS = ("centre_0.25", "centre_0.75", "left_0.25", "left_0.5", "outpaint_0.25")
ORIGINAL = {"retain": 10.0, "forget": 8.0}
RETRAINED_FORGET = 40.0
# of each variant: how strongly it forgets, and how much of that it takes from the retain set
_STRENGTH = dict(zip(VARIANTS, (2.4, 1.6, 1.8, 1.4, 2.0, 2.2), strict=True))
_HARM = dict(zip(VARIANTS, (0.35, 0.12, 0.06, 0.08, 0.03, 0.5), strict=True))
_STATES: dict[int, tuple[State, str]] = {
    31: ("failed", "non-finite"),
    47: ("pruned", ""),
    63: ("interrupted", ""),
}


def record_large(storage: Path, trials: int = 1000, *, files: bool = True) -> Plan:
    """Records a sweep `large` of so many trials, at least 40.

    Args:
        storage: where.
        trials: rows of its results.
        files: leave the pictures and embeddings of the trials that a report shows.
    """
    planned = list(_planned(trials))
    plan = Plan(
        name="large",
        study="quickstart",
        question="Which variant forgets & harms <least>?",
        storage=storage,
        seed=0,
        trials=tuple(planned),
        groups=tuple(
            Group(label=each.group, name=each.name, config=each.config, space=dict(SPACE), trials=9)
            for each in planned
            if each.kind == "default"
        ),
    )
    plan.folder.mkdir(parents=True)
    rows = [_row(plan, each, at) for at, each in enumerate(planned)]
    write_results(plan.folder, rows)
    write_environment(plan.folder)
    write_plan(plan)
    if files:
        for each in _with_files(planned, rows):
            leave_files(plan.folder / "trials" / each.name, each)
    return plan


def _planned(trials: int) -> Any:
    """The references, each variant's default under three seeds, repetitions, and a search."""
    yield _trial("original", "original", "default", 0)
    yield _trial("retrained", "retrained", "default", 0)
    for group in VARIANTS:
        for seed in SEEDS:
            name = f"{group}-seed{seed}" if seed else group
            yield _trial(group, name, "replicate" if seed else "default", seed, seed=seed)
    left = trials - 2 - len(VARIANTS) * len(SEEDS)
    draw = np.random.default_rng(3)
    for at in range(left):
        group, number = VARIANTS[at % len(VARIANTS)], at // len(VARIANTS) + 1
        alpha, rate = (
            float(axis.low * (axis.high / axis.low) ** draw.random()) for axis in SPACE.values()
        )
        config = {"forget_alpha": alpha, "unlearn": UnlearnConfig(lr=rate)}
        yield _trial(group, f"{group}-s{number}", "search", number, **config)


def _trial(group: str, name: str, kind: Any, number: int, **fields: Any) -> PlannedTrial:
    method = {"ours_proxy": "ours"}.get(group, group)
    source = "proxy" if group == "ours_proxy" else "real"
    config = TrialConfig(method=method, retain_source=source, **fields)  # type: ignore[arg-type]
    searched = {"forget_alpha": config.forget_alpha, "unlearn.lr": config.unlearn.lr}
    return PlannedTrial(
        key=config.key(),
        group=group,
        group_name=group,
        name=name,
        kind=kind,
        number=number,
        config=config,
        params=searched if kind == "search" else {},
    )


def _row(plan: Plan, planned: PlannedTrial, at: int) -> dict[str, Any]:
    searched = planned.kind == "search"
    state, failure = _STATES.get(at % 100, ("finished", "")) if searched else ("finished", "")
    if state != "finished":
        return result_row(plan, planned, state, failure=failure, duration_s=1.0)
    result = {
        "metrics": metrics_of(planned),
        "extractors": EXTRACTORS,
        "timing": {"total_s": 9.0},
        "data_hash": "d0d0",
    }
    return result_row(plan, planned, state, result)


def metrics_of(planned: PlannedTrial) -> dict[str, float]:
    """Distances of the main and of further tasks, on test and on validation images."""
    config = planned.config
    noise = np.random.default_rng(sum(planned.name.encode()) + 1000 * config.seed)
    x = y = 0.0
    if planned.group == "retrained":
        y = math.log(RETRAINED_FORGET / ORIGINAL["forget"])
    elif planned.group != "original":
        push = math.log(config.forget_alpha / 0.02) * (config.unlearn.lr / 1e-3) ** 0.3
        y = _STRENGTH[planned.group] * push / 2.5
        x = _HARM[planned.group] * push**1.5 / 4 - 0.01
    values: dict[str, float] = {}
    for task in ("", *(f"{task}/" for task in TASKS)):
        for split in ("", "val/"):
            for role, ratio in (("retain", x), ("forget", y)):
                jitter = 0.02 * float(noise.normal()) if x or y else 0.0
                values[f"{task}{split}{role}/fid"] = ORIGINAL[role] * math.exp(ratio + jitter)
                if not task:
                    values |= {
                        f"{split}{role}/is_mean": 2.5,
                        f"{split}{role}/is_std": 0.1,
                        f"{split}{role}/clip": 0.9,
                    }
    values["val/objective"] = math.log(values["val/forget/fid"] / ORIGINAL["forget"])
    values["val/violation"] = math.log(values["val/retain/fid"] / (1.1 * ORIGINAL["retain"]))
    return values


def _with_files(planned: list[PlannedTrial], rows: list[dict[str, Any]]) -> list[PlannedTrial]:
    """The defaults, and each variant's best."""
    wanted = {each.name for each in planned if each.kind == "default"}
    for group in VARIANTS:
        own = [
            row
            for row in rows
            if row["group"] == group and row["state"] == "finished" and row["val/violation"] <= 0
        ]
        wanted |= {max(own, key=lambda row: float(row["val/objective"]))["name"]} if own else set()
    return [each for each in planned if each.name in wanted]
