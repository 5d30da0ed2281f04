"""A recorded sweep as the report looks at it: points and their seeds, references, contests.

Trials of one `point` differ in seeds alone: they repeat one measurement. Trials can be compared
where one model completes the same images in the same way: such trials are a `Contest`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from analysis.statistics import Estimate, interval
from analysis.trial_configs import Configs, Setting, point_of, seeds_of, setting_of, titles
from platform.tracking.recorder import REFERENCES, Row, Sweep, Variant


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A finished trial with what it is held against.

    Attributes:
        row: of `results.parquet`.
        config: dotted field to value; model and task alone where nothing more is recorded.
        point: equal for trials that differ in seeds alone.
        seeds: by which trials of different points are paired.
        original: metrics of the model before unlearning, from the nearest seeds; empty where no
            original has finished.
        retrained: the same of the model that never saw the forget classes.
    """

    row: Row
    config: Mapping[str, Any]
    point: str
    seeds: tuple[Hashable, ...]
    original: Mapping[str, float]
    retrained: Mapping[str, float]

    def ratio(self, metric: str) -> float | None:
        """Log of a distance over the original's; None where one is missing or not above 0."""
        own, other = self.row.get(metric), self.original.get(metric)
        if own is None or other is None or not own > 0 or not other > 0:
            return None
        return math.log(own / other)

    def place(self, split: str = "") -> tuple[float, float] | None:
        """Log ratios of the retain and the forget distance; of validation with `val/`."""
        retain, forget = (self.ratio(f"{split}{role}/fid") for role in ("retain", "forget"))
        return None if retain is None or forget is None else (retain, forget)

    def value(self, metric: str) -> float | None:
        """A metric, or `gap`: how far the forget distance is from the retrained model's."""
        if metric != "gap":
            number: float | None = self.row.get(metric)
            return number
        own, other = self.row.get("forget/fid"), self.retrained.get("forget/fid")
        return None if own is None or other is None else abs(own - other)


@dataclass(frozen=True, kw_only=True)
class Point:
    """Finished trials that differ in seeds alone, in the order of the plan; at least one."""

    trials: tuple[Trial, ...]

    @property
    def first(self) -> Trial:
        """The one that stands for all in names and settings."""
        return self.trials[0]

    def by_seed(self, metric: str) -> dict[Hashable, float]:
        """Seeds to a metric, where it was measured."""
        found = {trial.seeds: trial.value(metric) for trial in self.trials}
        return {seeds: value for seeds, value in found.items() if value is not None}

    def estimate(self, metric: str) -> Estimate | None:
        """A metric's mean over seeds."""
        return interval(list(self.by_seed(metric).values()))

    def place(self, split: str = "") -> tuple[float, float] | None:
        """Means over seeds of `Trial.place`; on validation those of repetitions do not count.

        A repetition of a chosen trial was run because the trial was chosen: it takes no part in
        choosing.
        """
        own = [trial for trial in self.trials if trial.row["kind"] != "replicate"]
        counted = own if split and own else self.trials
        places = [place for trial in counted if (place := trial.place(split)) is not None]
        if not places:
            return None
        return (
            math.fsum(x for x, _ in places) / len(places),
            math.fsum(y for _, y in places) / len(places),
        )


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """A variant in a contest.

    Attributes:
        variant: in the whole sweep.
        trials: its finished trials in this contest; none where none of the variant's finished.
    """

    variant: Variant
    trials: tuple[Trial, ...]

    @property
    def row(self) -> Row:
        """The one that says what the variant is."""
        return self.trials[0].row if self.trials else self.variant.trials[0]

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """Its trials by their points."""
        points: dict[str, list[Trial]] = {}
        for trial in self.trials:
            points.setdefault(trial.point, []).append(trial)
        return tuple(Point(trials=tuple(trials)) for trials in points.values())

    @cached_property
    def default(self) -> Point | None:
        """The point at the variant's defaults; in another contest than theirs the nearest."""
        order = {"default": 0, "grid": 1, "point": 1}
        own = [point for point in self.points if point.first.row["kind"] in order]
        usual = self.variant.default
        wanted = None if usual is None else (usual["forget_alpha"], usual["lr"])

        def distance(point: Point) -> tuple[int, bool]:
            row = point.first.row
            return order[row["kind"]], (row["forget_alpha"], row["lr"]) != wanted

        return min(own, key=distance, default=None)

    @property
    def candidates(self) -> list[tuple[Point, tuple[float, float]]]:
        """The points that may be chosen, each with its place on validation."""
        found = [(point, point.place("val/")) for point in self.points]
        return [(point, place) for point, place in found if place is not None]


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Trials that can be compared.

    Attributes:
        model: of all of them.
        title: the model, and what tells this contest from the model's others.
        stem: the same as the beginning of a file's name.
        entrants: in the order of the plan, the references among them; in a model's first contest
            also those of which no trial finished.
        config: of its first trial.
    """

    model: str
    title: str
    stem: str
    entrants: tuple[Entrant, ...]
    config: Mapping[str, Any]

    @property
    def contenders(self) -> list[Entrant]:
        """All but the references."""
        return [entrant for entrant in self.entrants if not entrant.variant.is_reference]

    @property
    def ours(self) -> Entrant | None:
        """The method of the paper with real retain images; without them, in another form."""
        own = [each for each in self.contenders if each.row["method"] == "ours"]
        usual = [
            each
            for each in own
            if (each.row["retain_source"], each.row["formulation"]) == ("real", "paper")
        ]
        return next(iter([*usual, *own]), None)

    def reference(self, method: str) -> Entrant | None:
        """The original or the retrained model, where it has finished."""
        named = (each for each in self.entrants if each.trials and each.row["method"] == method)
        return next(named, None)


def contests(sweep: Sweep, variants: Sequence[Variant]) -> list[Contest]:
    """The contests of a sweep, model by model, that of the variants' defaults first.

    Args:
        sweep: the recorded sweep.
        variants: of it, in the order to show.
    """
    configs = Configs(sweep)
    rows = [row for variant in variants for row in variant.finished]
    known = {str(row["name"]): configs.of(row) for row in rows}
    settings = {name: setting_of(config) for name, config in known.items()}
    references = [_References(method, rows, settings) for method in REFERENCES]
    trials = {}
    for row in rows:
        name = str(row["name"])
        original, retrained = (each.of(row) for each in references)
        trials[name] = Trial(
            row=row,
            config=known[name],
            point=point_of(row, known[name]),
            seeds=seeds_of(row, known[name]),
            original=original,
            retrained=retrained,
        )
    models = dict.fromkeys(variant.model for variant in variants)
    return [
        contest
        for model in models
        for contest in _of_model(
            model, [variant for variant in variants if variant.model == model], trials, settings
        )
    ]


def _of_model(
    model: str,
    variants: Sequence[Variant],
    trials: Mapping[str, Trial],
    settings: Mapping[str, Setting],
) -> Iterator[Contest]:
    rows = [row for variant in variants for row in variant.finished]
    rows.sort(key=lambda row: row["kind"] != "default")
    keys = list(dict.fromkeys(settings[row["name"]] for row in rows))
    for at, (key, title) in enumerate(zip(keys, titles(model, [*map(dict, keys)]), strict=True)):
        entrants = [
            Entrant(
                variant=variant,
                trials=tuple(
                    trials[row["name"]] for row in variant.finished if settings[row["name"]] == key
                ),
            )
            for variant in variants
        ]
        present = tuple(
            entrant
            for entrant in entrants
            if entrant.trials or (not at and not entrant.variant.finished)
        )
        yield Contest(
            model=model,
            title=title,
            stem=f"{model}_{at + 1}" if at else model,
            entrants=present,
            config=next(each for each in present if each.trials).trials[0].config,
        )


class _References:
    """Metrics of a reference, nearest to each trial.

    Args:
        method: `original` or `retrained`.
        rows: of the finished trials.
        settings: of each, by its name.
    """

    def __init__(self, method: str, rows: Sequence[Row], settings: Mapping[str, Setting]) -> None:
        self._rows = [row for row in rows if row["method"] == method]
        self._settings = settings

    def of(self, row: Row) -> dict[str, float]:
        """Means over the reference's trials whose setting and seeds are nearest to a trial's."""
        usable = [
            each
            for each in self._rows
            if (each["model"], each["test_task"]) == (row["model"], row["test_task"])
        ]
        own = self._settings[row["name"]]
        same = [each for each in usable if self._settings[each["name"]] == own]
        nearest: dict[int, list[Row]] = {}
        for each in same or usable:
            pairs = zip(seeds_of(each), seeds_of(row), strict=True)
            seed, pretrain, evaluation = (a == b for a, b in pairs)
            # the seed of pretraining makes another original, that of measuring other completions
            nearest.setdefault(4 * pretrain + 2 * evaluation + seed, []).append(each)
        if not nearest:
            return {}
        chosen = nearest[max(nearest)]
        return {
            name: math.fsum(each[name] for each in chosen) / len(chosen)
            for name in chosen[0]
            if "/" in name and all(each.get(name) is not None for each in chosen)
        }
