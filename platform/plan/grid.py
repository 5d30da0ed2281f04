"""Crosses a study's variants with models and with what is enumerated: cells, each named once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from optuna.distributions import BaseDistribution, CategoricalDistribution

from platform.plan.overrides import Overrides, family_of
from platform.plan.plan import Group
from search_spaces.study import Study
from trainables.config import DataConfig, TrialConfig, to_dict
from trainables.config.overrides import apply_overrides, field_types
from trainables.data.splits import data_faults
from trainables.shipped import RECIPES, shipped_weights
from trainables.utils.errors import ConfigError
from trainables.utils.hashing import content_key
from trainables.utils.text import flatten

# these make a variant's label; whatever else is enumerated makes only a trial's name
_LABEL_FIELDS = ("model", "method", "retain_source", "formulation")
_LONGEST_NAME = 60


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A variant at one combination of what is enumerated.

    Attributes:
        group: the trials that are searched together, without their replicates; its name and its
            configuration are those of the cell's own trial.
        kind: the kind of its own trial.
        points: its configurations at the study's fixed points.
    """

    group: Group
    kind: Literal["default", "grid"]
    points: tuple[TrialConfig, ...]


def enumerate_cells(study: Study, asked: Overrides, seed: int) -> tuple[list[Cell], list[str]]:
    """Returns the distinct cells, and a line for each fault that was found.

    Cells come model by model, and each variant's default before its other values.

    Args:
        study: gives base, variants, axes, points and space.
        asked: what the user pins, enumerates and asks of the search.
        seed: every trial's, unless the study or an override says otherwise; 0 leaves that of the
            study's base.
    """
    pinned = (asked.pinned["model"],) if "model" in asked.pinned else ()
    models = asked.axes.get("model", ()) or pinned or tuple(study.models) or (study.base.model,)
    # overrides of the study's models that this sweep leaves out are no mistake
    meant = [*models, *study.models, study.base.model]
    scopes = {*meant, *map(family_of, meant)}
    unused = [scope for scope in asked.scoped if scope not in scopes]
    parts = [_ModelCells(study, model, asked.of_model(model), seed) for model in models]
    faults = [
        f"{scope}/...: the sweep has no such model, only {', '.join(models)}" for scope in unused
    ]
    faults += [line for part in parts for line in part.faults]
    data = {key: each for part in parts for key, each in part.data.items()}
    faults += [line for each in data.values() for line in data_faults(each)]
    taken: set[str] = set()
    many = len(models) > 1
    return [cell for part in parts for cell in part.cells(many, taken)], faults


def study_cells(study: Study) -> dict[str, list[Cell] | None]:
    """Returns the cells of a study as it stands, by each model that it names.

    Their data are not looked at. A model that needs something of the user, such as a folder of
    images, has None.
    """
    models = dict.fromkeys([*(study.models or (study.base.model,)), *study.others])
    parts = {model: _ModelCells(study, model, Overrides(), 0) for model in models}
    return {
        model: None if part.faults else list(part.cells(False, set()))
        for model, part in parts.items()
    }


class _ModelCells:
    """The cells of one model, and what is wrong with them.

    Args:
        study: gives base, variants, axes, points and space.
        model: the model's name.
        asked: the user's overrides that hold for it.
        seed: every trial's, unless something says otherwise.

    Attributes:
        faults: a line for each fault that was found.
        data: the data sets of its trials, by their content.
    """

    def __init__(self, study: Study, model: str, asked: Overrides, seed: int) -> None:
        family = study.families.get(family_of(model), {})  # type: ignore[call-overload]
        own = {**study.others, **study.models}.get(model, {})  # type: ignore[call-overload]
        usual = {"seed": seed or study.base.seed, **family, **own}
        self._trials = asked.search.get("trials", usual.pop("search.trials", study.search.trials))
        self._configs: dict[str, TrialConfig] = {}
        self.data: dict[str, DataConfig] = {}
        self.faults: list[str] = []
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
        fixed = {**asked.pinned, **axes}
        self._space = {n: axis for n, axis in study.space.items() if n not in fixed}
        self._points = [{n: v for n, v in p.items() if n not in fixed} for p in study.points]
        if study.published or (model in study.others and model not in RECIPES):
            self.faults += self._missing_original(model, fixed)
        told = [*axes, *(name for variant in variants for name in variant)]
        self._told = [name for name in told if name in field_types()]
        self._usual = flatten(to_dict(study.base)) | usual | asked.pinned

    def _add(self, base: TrialConfig, chosen: Mapping[str, Any]) -> None:
        of_data = {name: value for name, value in chosen.items() if name.startswith("data.")}
        config, wrong = _applied(base, chosen)
        usable, _ = _applied(base, of_data)  # its data are looked at whatever else is wrong
        self.faults += wrong
        if config is not None:
            self._configs.setdefault(config.key(), config)
        if usable is not None:
            self.data.setdefault(content_key(to_dict(usable.data)), usable.data)

    def _missing_original(self, model: str, asked: Mapping[str, Any]) -> list[str]:
        """Returns a line where the model's original would have to be trained and nobody asked."""
        if asked.get("checkpoint") or any(name.startswith("pretrain.") for name in asked):
            return []
        if self._configs and all(map(shipped_weights, self._configs.values())):
            return []
        return [
            f"{model} needs the published weights: --set {model}/checkpoint=FILE, or an option of "
            "pretrain. to train an original here"
        ]

    def cells(self, many: bool, taken: set[str]) -> Iterator[Cell]:
        """Yields the cells with their labels and names.

        A variant's default is its cell at the usual values, or its first.

        Args:
            many: the sweep has several models, so that a label names its own.
            taken: the names in use, added to.
        """
        fields = [name for name in dict.fromkeys(self._told) if name not in _LABEL_FIELDS]
        by_label: dict[str, list[tuple[str, TrialConfig]]] = {}
        for config in self._configs.values():
            label = f"{config.model}/{_label(config)}" if many else _label(config)
            own, counted = (flatten(to_dict(each)) for each in (config, config.canonical()))
            unusual = {
                n: own[n] for n in fields if own[n] != self._usual[n] and own[n] == counted[n]
            }
            by_label.setdefault(label, []).append((_suffix(unusual, fields), config))
        for label, named in by_label.items():
            named.sort(key=lambda pair: pair[0] != "")
            for index, (suffix, config) in enumerate(named):
                space = {n: ax for n, ax in self._space.items() if _matters(config, n, ax)}
                name = _unique(label.replace("/", "-") + suffix, config, taken)
                yield Cell(
                    group=Group(
                        label=label,
                        name=name,
                        config=config,
                        space=space,
                        trials=self._trials if space else 0,
                    ),
                    kind="grid" if index else "default",
                    points=self._points_of(config),
                )

    def _points_of(self, config: TrialConfig) -> tuple[TrialConfig, ...]:
        """Returns a cell's configurations at the fixed points that change what it does."""
        moved = [apply_overrides(config, point) for point in self._points if point]
        by_key = {each.key(): each for each in moved}
        return tuple(each for key, each in by_key.items() if key != config.key())


def _applied(
    base: TrialConfig, overrides: Mapping[str, Any]
) -> tuple[TrialConfig | None, list[str]]:
    try:
        return apply_overrides(base, overrides), []
    except ConfigError as error:
        return None, error.problems


def _variants(study: Study, methods: Iterable[str]) -> list[Mapping[str, Any]]:
    """Returns the study's variants of the given methods, and a plain one where it has none."""
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
    """Returns such as `-alpha0.5-seed1`; a field's last part names it where no other ends so."""
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
    """Reports whether a searched field changes the trial: `original` ignores alpha and rate."""
    return len({each.key() for each in _at_ends(config, name, axis)}) > 1


def _at_ends(config: TrialConfig, name: str, axis: BaseDistribution) -> list[TrialConfig]:
    """Returns a trial at both ends, or at each choice, of a searched field."""
    if isinstance(axis, CategoricalDistribution):
        ends: tuple[Any, ...] = axis.choices
    else:
        ends = (axis.low, axis.high)  # type: ignore[attr-defined]
    return [apply_overrides(config, {name: end}) for end in ends]


def searched_configs(group: Group) -> list[TrialConfig]:
    """Returns a group's own configuration, then it at the ends of each field that it searches."""
    space = group.space if group.trials else {}
    moved = (_at_ends(group.config, name, axis) for name, axis in space.items())
    return [group.config, *itertools.chain.from_iterable(moved)]
