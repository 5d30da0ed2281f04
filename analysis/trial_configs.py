"""Reads configurations and test tasks of recorded trials, and tells which can be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from platform.storage.sweep_folder import Sweep
from platform.storage.variants import Row
from trainables.utils.text import flatten

# dotted fields of the seeds to their columns in `results.parquet`
SEEDS = {"seed": "seed", "pretrain.seed": "pretrain_seed", "evaluation.seed": "evaluation_seed"}
# fields that must be equal for figures to be comparable; a name that ends in "." is a section
_CONDITIONS = (
    *("model", "checkpoint", "test_task.", "sampling.", "pretrain.", "networks.", "extractor."),
    *("evaluation.", "data.source", "data.root", "data.split_file", "data.forget", "data.retain"),
    *("data.image_size", "data.seed", "data.val_per_class", "data.test_per_class"),
)
_SEARCH_NUMBER = re.compile(r"-s\d+$")

Conditions = tuple[tuple[str, Any], ...]


class Configs:
    """Gives the configuration of each row: as recorded with it, or else as planned."""

    def __init__(self, sweep: Sweep) -> None:
        planned = [
            (each, _fields(each["config"]))
            for each in (*sweep.plan.get("groups", ()), *sweep.plan.get("trials", ()))
            if "config" in each
        ]
        self._by_key = {each["key"]: config for each, config in planned if "key" in each}
        self._by_name = {each["name"]: config for each, config in planned}

    def of(self, row: Row) -> dict[str, Any]:
        """Returns values by dotted fields; the row's own columns alone where no more is known."""
        if row.get("config"):
            return _fields(json.loads(row["config"]))
        if row["trial_key"] in self._by_key:
            return dict(self._by_key[row["trial_key"]])
        kind, ratio = split_task(str(row["test_task"]))
        own = {
            "model": row["model"],
            "method": row["method"],
            "formulation": row["formulation"],
            "retain_source": row["retain_source"],
            "forget_alpha": row["forget_alpha"],
            "unlearn.lr": row["lr"],
            "seed": row["seed"],
            "test_task.kind": kind,
            "test_task.ratio": ratio,
        }
        # a trial that was proposed as the sweep ran is its group's but for what was searched
        return {**self._by_name.get(_SEARCH_NUMBER.sub("", str(row["name"])), {}), **own}


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration by dotted fields; lists become tuples, which can be keys."""
    fields = flatten(config)
    return {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}


def conditions_of(config: Mapping[str, Any]) -> Conditions:
    """Returns the fields with values that must be equal for figures to be comparable."""
    return tuple(
        (name, value)
        for name, value in sorted(config.items())
        if name not in SEEDS
        and any(name == each or (each[-1] == "." and name.startswith(each)) for each in _CONDITIONS)
    )


def titles(model: str, conditions: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns titles for a model's comparisons: the fields in which their conditions differ."""
    names = dict.fromkeys(name for each in conditions for name in each)
    telling = [name for name in names if len({each.get(name) for each in conditions}) > 1]
    ends = [", ".join(f"{name} {each.get(name)}" for name in telling) for each in conditions]
    return [f"{model}, {end}" if end else model for end in ends]


def seed_group_of(row: Row, config: Mapping[str, Any]) -> str:
    """Returns a key that is equal for trials that differ in seeds alone."""
    if row.get("point"):
        return str(row["point"])
    if "unlearn.steps" not in config:  # too little is known to call two trials equal
        return str(row["trial_key"])
    return repr(sorted((name, value) for name, value in config.items() if name not in SEEDS))


def seeds_of(row: Row, config: Mapping[str, Any] | None = None) -> tuple[Hashable, ...]:
    """Returns the seeds of unlearning, pretraining and measuring; None where not recorded."""
    known = config or {}
    return tuple(
        known.get(name) if row.get(column) is None else row[column]
        for name, column in SEEDS.items()
    )


def split_task(name: str) -> tuple[str, float]:
    """Returns the kind and the ratio of a test task, such as `centre_0.5`."""
    kind, _, ratio = name.rpartition("_")
    return kind, float(ratio)


def further_tasks(row: Row) -> list[str]:
    """Returns the test tasks that a trial was measured on beside its own.

    The metrics of such a task begin with its name, such as `left_0.5/retain/fid`.
    """
    found = [
        name.removesuffix("/retain/fid")
        for name, value in row.items()
        if name.endswith("/retain/fid") and value is not None
    ]
    return [task for task in found if "_" in task and "/" not in task]
