"""The configuration of each recorded trial, and what must be equal for trials to be compared."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from platform.tracking.recorder import Row, Sweep

# dotted field to the column of `results.parquet` that holds it too
SEEDS = {"seed": "seed", "pretrain.seed": "pretrain_seed", "evaluation.seed": "evaluation_seed"}
# what must be equal for figures to be comparable; a name that ends in a point stands for a section
_SETTING = (
    *("model", "checkpoint", "test_task.", "sampling.", "pretrain.", "networks.", "extractor."),
    *("evaluation.", "data.source", "data.root", "data.split_file", "data.forget", "data.retain"),
    *("data.image_size", "data.seed", "data.val_per_class", "data.test_per_class"),
)
_SEARCH_POINT = re.compile(r"-s\d+$")

Setting = tuple[tuple[str, Any], ...]


def flatten(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested values by dotted names; lists become tuples."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{above}{name}.")
        else:
            flat[above + name] = tuple(value) if isinstance(value, list) else value
    return flat


class Configs:
    """The configuration of each row: as recorded with it, or else as planned."""

    def __init__(self, sweep: Sweep) -> None:
        planned = [
            (each, flatten(each["config"]))
            for each in (*sweep.plan.get("groups", ()), *sweep.plan.get("trials", ()))
            if "config" in each
        ]
        self._by_key = {each["key"]: config for each, config in planned if "key" in each}
        self._by_name = {each["name"]: config for each, config in planned}

    def of(self, row: Row) -> dict[str, Any]:
        """Dotted fields; model and task alone where nothing is known."""
        if row.get("config"):
            return flatten(json.loads(row["config"]))
        if row["trial_key"] in self._by_key:
            return dict(self._by_key[row["trial_key"]])
        kind, _, ratio = str(row["test_task"]).rpartition("_")
        own = {
            "model": row["model"],
            "method": row["method"],
            "formulation": row["formulation"],
            "retain_source": row["retain_source"],
            "forget_alpha": row["forget_alpha"],
            "unlearn.lr": row["lr"],
            "seed": row["seed"],
            "test_task.kind": kind,
            "test_task.ratio": float(ratio),
        }
        # a point that was proposed as the sweep ran is its group's but for what was searched
        return {**self._by_name.get(_SEARCH_POINT.sub("", str(row["name"])), {}), **own}


def setting_of(config: Mapping[str, Any]) -> Setting:
    """The fields that must be equal for figures to be comparable."""
    return tuple(
        (name, value)
        for name, value in sorted(config.items())
        if name not in SEEDS
        and any(name == each or (each[-1] == "." and name.startswith(each)) for each in _SETTING)
    )


def titles(model: str, settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """What contests of a model are called: by the fields in which their settings differ."""
    names = dict.fromkeys(name for each in settings for name in each)
    telling = [name for name in names if len({each.get(name) for each in settings}) > 1]
    ends = [", ".join(f"{name} {each.get(name)}" for name in telling) for each in settings]
    return [f"{model}, {end}" if end else model for end in ends]


def point_of(row: Row, config: Mapping[str, Any]) -> str:
    """Equal for trials that differ in seeds alone."""
    if row.get("point"):
        return str(row["point"])
    if "unlearn.steps" not in config:  # too little is known to call two trials equal
        return str(row["trial_key"])
    return repr(sorted((name, value) for name, value in config.items() if name not in SEEDS))


def seeds_of(row: Row, config: Mapping[str, Any] | None = None) -> tuple[Hashable, ...]:
    """Of unlearning, of pretraining and of measuring; None where one is not recorded."""
    known = config or {}
    return tuple(
        known.get(name) if row.get(column) is None else row[column]
        for name, column in SEEDS.items()
    )
