"""A study's variants crossed with models and with what is enumerated: a row each, named once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution

from platform.plan.overrides import Settings, family_of
from search_spaces.study import Study
from trainables.config import DataConfig, TrialConfig, to_dict
from trainables.config.overrides import apply_overrides, field_types, flatten
from trainables.data.splits import data_faults
from trainables.shipped import RECIPES, shipped_weights
from trainables.utils.errors import ConfigError
from trainables.utils.hashing import content_key

# these make a variant's label; whatever else is enumerated makes only a trial's name
_LABEL_FIELDS = ("model", "method", "retain_source", "formulation")
_LONGEST_NAME = 60

Problems = list[str]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A variant at one combination of what is enumerated.

    Attributes:
        label: the variant's.
        name: of its own trial.
        kind: of its own trial.
        config: of its own trial.
        space: what is searched.
        trials: how many search points it gets, if anything is searched.
        points: its trials at the study's fixed points.
    """

    label: str
    name: str
    kind: Literal["default", "grid"]
    config: TrialConfig
    space: dict[str, BaseDistribution] = field(default_factory=dict)
    trials: int
    points: tuple[TrialConfig, ...] = ()


def enumerate_rows(study: Study, asked: Settings, seed: int) -> tuple[list[Row], Problems]:
    """Distinct rows, model by model, each variant's default before its others."""
    pinned = (asked.pinned["model"],) if "model" in asked.pinned else ()
    models = asked.axes.get("model", ()) or pinned or tuple(study.models) or (study.base.model,)
    # narrowed to some of a study's models, a sweep may still be told of the others
    meant = [*models, *study.models, study.base.model]
    scopes = {*meant, *map(family_of, meant)}
    unused = [scope for scope in asked.scoped if scope not in scopes]
    parts = [_RowsOfModel(study, model, asked.of_model(model), seed) for model in models]
    faults = [
        f"{scope}/...: the sweep has no such model, only {', '.join(models)}" for scope in unused
    ]
    faults += [line for part in parts for line in part.faults]
    data = {key: each for part in parts for key, each in part.data.items()}
    faults += [line for each in data.values() for line in data_faults(each)]
    taken: set[str] = set()
    many = len(models) > 1
    return [row for part in parts for row in part.rows(many, taken)], faults


class _RowsOfModel:
    """The rows of one model, and what is wrong with them.

    Args:
        study: gives base, variants, axes and space.
        model: whose rows.
        asked: the user's settings that hold for it.
        seed: of every trial unless something says otherwise.
    """

    def __init__(self, study: Study, model: str, asked: Settings, seed: int) -> None:
        family = study.families.get(family_of(model), {})  # type: ignore[call-overload]
        own = {**study.others, **study.models}.get(model, {})  # type: ignore[call-overload]
        usual = {"seed": seed, **family, **own}
        self.trials = asked.search.get("trials", usual.pop("search.trials", study.search.trials))
        self.configs: dict[str, TrialConfig] = {}
        self.data: dict[str, DataConfig] = {}
        self.faults: Problems = []
        named = {n: v for n, v in asked.axes.items() if n not in ("method", "model")}
        axes = {n: v for n, v in {**study.axes, **named}.items() if n not in asked.pinned}
        variants = _variants(study, asked.axes.get("method", ()))
        for variant, values in itertools.product(variants, itertools.product(*axes.values())):
            enumerated = dict(zip(axes, values, strict=True))
            chosen = {**usual, **variant, **asked.pinned, **enumerated, "model": model}
            # published weights cannot be trained again without some classes
            if "method" in asked.axes or not (
                chosen.get("checkpoint") and chosen.get("method") == "retrained"
            ):
                self._add(study.base, chosen)
        self.space = {
            n: axis for n, axis in study.space.items() if n not in {**asked.pinned, **axes}
        }
        self.points = [
            {n: v for n, v in point.items() if n not in {**asked.pinned, **axes}}
            for point in study.points
        ]
        if study.published or (model in study.others and model not in RECIPES):
            self.faults += self._missing_original(model, {**asked.pinned, **axes})
        told = [*axes, *(name for variant in variants for name in variant)]
        self.told = [name for name in told if name in field_types()]
        self.usual = flatten(to_dict(study.base)) | usual | asked.pinned

    def _add(self, base: TrialConfig, chosen: Mapping[str, Any]) -> None:
        of_data = {name: value for name, value in chosen.items() if name.startswith("data.")}
        config, wrong = _applied(base, chosen)
        usable, _ = _applied(base, of_data)  # its data are looked at whatever else is wrong
        self.faults += wrong
        if config is not None:
            self.configs.setdefault(config.key(), config)
        if usable is not None:
            self.data.setdefault(content_key(to_dict(usable.data)), usable.data)

    def _missing_original(self, model: str, asked: Mapping[str, Any]) -> Problems:
        """A line where the model's original would have to be trained and nobody asked for that."""
        if asked.get("checkpoint") or any(name.startswith("pretrain.") for name in asked):
            return []
        if self.configs and all(map(shipped_weights, self.configs.values())):
            return []
        return [
            f"{model} needs the published weights: --set {model}/checkpoint=FILE, or an option of "
            "pretrain. to train an original here"
        ]

    def rows(self, many: bool, taken: set[str]) -> Iterator[Row]:
        """Labels and names. A variant's default is its row at the usual values, or its first.

        Args:
            many: the sweep has several models, so that a label tells its own.
            taken: names in use, added to.
        """
        fields = [name for name in dict.fromkeys(self.told) if name not in _LABEL_FIELDS]
        by_label: dict[str, list[tuple[str, TrialConfig]]] = {}
        for config in self.configs.values():
            label = f"{config.model}/{_label(config)}" if many else _label(config)
            own, counted = (flatten(to_dict(each)) for each in (config, config.canonical()))
            unusual = {
                n: own[n] for n in fields if own[n] != self.usual[n] and own[n] == counted[n]
            }
            by_label.setdefault(label, []).append((_suffix(unusual, fields), config))
        for label, rows in by_label.items():
            rows.sort(key=lambda row: row[0] != "")
            for index, (suffix, config) in enumerate(rows):
                yield Row(
                    label=label,
                    name=_unique(label.replace("/", "-") + suffix, config, taken),
                    kind="grid" if index else "default",
                    config=config,
                    space={n: ax for n, ax in self.space.items() if _matters(config, n, ax)},
                    trials=self.trials,
                    points=self._points(config),
                )

    def _points(self, config: TrialConfig) -> tuple[TrialConfig, ...]:
        """The row at the study's fixed points, where these change what it does."""
        moved = [apply_overrides(config, point) for point in self.points if point]
        by_key = {each.key(): each for each in moved}
        return tuple(each for key, each in by_key.items() if key != config.key())


def _applied(
    base: TrialConfig, overrides: Mapping[str, Any]
) -> tuple[TrialConfig | None, Problems]:
    try:
        return apply_overrides(base, overrides), []
    except ConfigError as error:
        return None, error.problems


def _variants(study: Study, methods: Iterable[str]) -> list[Mapping[str, Any]]:
    """The study's variants; of the given methods alone, with a plain one where it has none."""
    wanted = list(methods)
    if not wanted:
        return list(study.variants)

    def method(variant: Mapping[str, Any]) -> str:
        return str(variant.get("method", study.base.method))

    kept = [variant for variant in study.variants if method(variant) in wanted]
    present = {method(variant) for variant in kept}
    return [*kept, *({"method": name} for name in wanted if name not in present)]


def _label(config: TrialConfig) -> str:
    seen = config.canonical()
    source = "" if seen.retain_source == "real" else f"_{seen.retain_source.replace(':', 'to')}"
    return seen.method + source + ("" if seen.formulation == "paper" else f"_{seen.formulation}")


def _suffix(unusual: Mapping[str, Any], fields: Sequence[str]) -> str:
    """Such as `-alpha0.5-seed1`; a field is told by its last part where no other ends so."""
    ends = [name.rpartition(".")[2] for name in fields]
    parts = []
    for name, value in unusual.items():
        end = name.rpartition(".")[2]
        short = end.removeprefix("forget_") if ends.count(end) == 1 else name
        text = f"{value:g}" if isinstance(value, float) else str(value)
        parts.append(f"-{short}{re.sub(r'[^A-Za-z0-9.+-]+', '_', text).strip('_')}")
    return "".join(parts)


def _unique(name: str, config: TrialConfig, taken: set[str]) -> str:
    if name in taken or len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}-{config.key()[:6]}"
    taken.add(name)
    return name


def _matters(config: TrialConfig, name: str, axis: BaseDistribution) -> bool:
    """Whether a searched field changes what the trial does: `original` ignores alpha and rate."""
    if isinstance(axis, CategoricalDistribution):
        ends: tuple[Any, ...] = axis.choices
    else:
        ends = (axis.low, axis.high)  # type: ignore[attr-defined]
    return len({apply_overrides(config, {name: end}).key() for end in ends}) > 1
