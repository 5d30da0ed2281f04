"""Finds which trials of a sweep can be compared: one model, the same images, measured alike.

Such trials are a `Comparison`, in which each variant is a `Member`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from analysis.seed_groups import SeedGroup, Trial
from analysis.statistics import Pair
from analysis.trial_configs import (
    Conditions,
    Configs,
    conditions_of,
    seed_group_of,
    seeds_of,
    titles,
)
from platform.storage.sweep_folder import Sweep
from platform.storage.variants import Row, Variant


@dataclass(frozen=True, kw_only=True)
class Member:
    """A variant within a comparison.

    Attributes:
        variant: the variant with its trials in the whole sweep.
        trials: its finished trials in this comparison; none where none of the variant's finished.
    """

    variant: Variant
    trials: tuple[Trial, ...]

    @property
    def row(self) -> Row:
        """The row that says which method the variant is, and on which retain images."""
        return self.trials[0].row if self.trials else self.variant.trials[0]

    @cached_property
    def seed_groups(self) -> tuple[SeedGroup, ...]:
        """Its trials, those that differ in seeds alone together."""
        found: dict[str, list[Trial]] = {}
        for trial in self.trials:
            found.setdefault(trial.seed_group, []).append(trial)
        return tuple(SeedGroup(trials=tuple(trials)) for trials in found.values())

    @cached_property
    def default(self) -> SeedGroup | None:
        """The trials at the variant's defaults, or the nearest to them in this comparison."""
        order = {"default": 0, "grid": 1, "point": 1}
        own = [group for group in self.seed_groups if group.first.row["kind"] in order]
        usual = self.variant.default
        wanted = None if usual is None else (usual["forget_alpha"], usual["lr"])

        def distance(group: SeedGroup) -> tuple[int, bool]:
            row = group.first.row
            return order[row["kind"]], (row["forget_alpha"], row["lr"]) != wanted

        return min(own, key=distance, default=None)

    @property
    def candidates(self) -> list[tuple[SeedGroup, Pair]]:
        """The seed groups that may be chosen, each with its log ratios on validation images."""
        found = [(group, group.log_ratios("val/")) for group in self.seed_groups]
        return [(group, pair) for group, pair in found if pair is not None]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Trials that can be compared.

    Attributes:
        model: the model of all of them.
        title: the model, and what tells this comparison from the model's others.
        stem: the beginning of the names of its files; it tells the same.
        members: the variants in the order of the plan, the references among them; a model's first
            comparison also has the variants of which no trial finished.
        config: the configuration of its first trial.
    """

    model: str
    title: str
    stem: str
    members: tuple[Member, ...]
    config: Mapping[str, Any]

    @property
    def contenders(self) -> list[Member]:
        """All members but the references."""
        return [member for member in self.members if not member.variant.is_reference]

    @property
    def ours(self) -> Member | None:
        """The method of the paper with real retain images; without them, in another form."""
        own = [member for member in self.contenders if member.row["method"] == "ours"]
        usual = [
            member
            for member in own
            if (member.row["retain_source"], member.row["formulation"]) == ("real", "paper")
        ]
        return next(iter([*usual, *own]), None)

    def reference(self, method: str) -> Member | None:
        """Returns the original or the retrained model; None where it has not finished."""
        return next((m for m in self.members if m.trials and m.row["method"] == method), None)


def find_comparisons(sweep: Sweep, variants: Sequence[Variant]) -> list[Comparison]:
    """Returns the comparisons of a sweep, model by model, that of the variants' defaults first.

    Args:
        sweep: the recorded sweep.
        variants: its variants, in the order to show.
    """
    configs = Configs(sweep)
    rows = [row for variant in variants for row in variant.finished]
    known = {str(row["name"]): configs.of(row) for row in rows}
    conditions = {name: conditions_of(config) for name, config in known.items()}
    original, retrained = (
        [row for row in rows if row["method"] == method] for method in ("original", "retrained")
    )
    trials = {
        name: Trial(
            row=row,
            config=known[name],
            seed_group=seed_group_of(row, known[name]),
            seeds=seeds_of(row, known[name]),
            original=_nearest(row, original, conditions),
            retrained=_nearest(row, retrained, conditions),
        )
        for row in rows
        for name in [str(row["name"])]
    }
    models = dict.fromkeys(variant.model for variant in variants)
    return [
        comparison
        for model in models
        for comparison in _compare_model(
            model, [variant for variant in variants if variant.model == model], trials, conditions
        )
    ]


def _compare_model(
    model: str,
    variants: Sequence[Variant],
    trials: Mapping[str, Trial],
    conditions: Mapping[str, Conditions],
) -> Iterator[Comparison]:
    rows = [row for variant in variants for row in variant.finished]
    rows.sort(key=lambda row: row["kind"] != "default")
    keys = list(dict.fromkeys(conditions[row["name"]] for row in rows))
    for at, (key, title) in enumerate(zip(keys, titles(model, [*map(dict, keys)]), strict=True)):
        every = [
            Member(
                variant=variant,
                trials=tuple(
                    trials[row["name"]]
                    for row in variant.finished
                    if conditions[row["name"]] == key
                ),
            )
            for variant in variants
        ]
        members = tuple(m for m in every if m.trials or (not at and not m.variant.finished))
        yield Comparison(
            model=model,
            title=title,
            stem=f"{model}_{at + 1}" if at else model,
            members=members,
            config=next(member for member in members if member.trials).trials[0].config,
        )


def _nearest(
    row: Row, rows: Sequence[Row], conditions: Mapping[str, Conditions]
) -> dict[str, float]:
    """Returns the metrics of a reference that are nearest to a trial, as means over its trials.

    Args:
        row: the trial.
        rows: the finished trials of the reference; those of the same conditions come first, then
            those of the same seeds.
        conditions: the conditions of each trial, by its name.
    """
    usable = [
        each
        for each in rows
        if (each["model"], each["test_task"]) == (row["model"], row["test_task"])
    ]
    own = conditions[row["name"]]
    same = [each for each in usable if conditions[each["name"]] == own]
    by_nearness: dict[int, list[Row]] = {}
    for each in same or usable:
        pairs = zip(seeds_of(each), seeds_of(row), strict=True)
        seed, pretrain, evaluation = (a == b for a, b in pairs)
        # the seed of pretraining makes another original, that of measuring other completions
        by_nearness.setdefault(4 * pretrain + 2 * evaluation + seed, []).append(each)
    if not by_nearness:
        return {}
    nearest = by_nearness[max(by_nearness)]
    return {
        name: math.fsum(each[name] for each in nearest) / len(nearest)
        for name in nearest[0]
        if "/" in name and all(each.get(name) is not None for each in nearest)
    }
