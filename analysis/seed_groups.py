"""Groups the finished trials of a sweep that repeat one measurement under different seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from analysis.statistics import Estimate, Pair, interval
from platform.storage.variants import Row


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A finished trial, with the figures of the references that it is held against.

    Attributes:
        row: its row of `results.parquet`.
        config: dotted field to value; model and task alone where nothing more is recorded.
        seed_group: a key that is equal for trials that differ in seeds alone.
        seeds: its seeds, by which trials of different seed groups are paired.
        original: metrics of the model before unlearning, from the nearest seeds; empty where no
            original has finished.
        retrained: metrics of the model that never saw the forget classes, in the same way.
    """

    row: Row
    config: Mapping[str, Any]
    seed_group: str
    seeds: tuple[Hashable, ...]
    original: Mapping[str, float]
    retrained: Mapping[str, float]

    def log_ratio(self, metric: str) -> float | None:
        """Returns the log of a distance over the original's; None where one is missing or 0."""
        own, other = self.row.get(metric), self.original.get(metric)
        if own is None or other is None or not own > 0 or not other > 0:
            return None
        return math.log(own / other)

    def log_ratios(self, split: str = "") -> Pair | None:
        """Returns the log ratios of the retain and the forget distance; None where one is missing.

        Args:
            split: empty for test images, `val/` for validation images.
        """
        retain, forget = (self.log_ratio(f"{split}{role}/fid") for role in ("retain", "forget"))
        return None if retain is None or forget is None else (retain, forget)

    def value(self, metric: str) -> float | None:
        """Returns a metric, or `gap`: how far the forget distance is from the retrained model's."""
        if metric != "gap":
            number: float | None = self.row.get(metric)
            return number
        own, other = self.row.get("forget/fid"), self.retrained.get("forget/fid")
        return None if own is None or other is None else abs(own - other)


@dataclass(frozen=True, kw_only=True)
class SeedGroup:
    """Finished trials that differ in seeds alone, in the order of the plan; at least one."""

    trials: tuple[Trial, ...]

    @property
    def first(self) -> Trial:
        """The trial whose name and configuration stand for all."""
        return self.trials[0]

    def by_seed(self, metric: str) -> dict[Hashable, float]:
        """Returns seeds to a metric, where it was measured."""
        found = {trial.seeds: trial.value(metric) for trial in self.trials}
        return {seeds: value for seeds, value in found.items() if value is not None}

    def estimate(self, metric: str) -> Estimate | None:
        """Returns the mean of a metric over the seeds, with its interval."""
        return interval(list(self.by_seed(metric).values()))

    def distances(self, prefix: str = "") -> tuple[Estimate | None, Estimate | None]:
        """Returns the means of the retain and the forget distance, on the task of a prefix."""
        return self.estimate(f"{prefix}retain/fid"), self.estimate(f"{prefix}forget/fid")

    def log_ratios(self, split: str = "") -> Pair | None:
        """Returns the means over seeds of `Trial.log_ratios`; None where no trial has them.

        A repetition of a chosen trial was run because the trial was chosen: on validation images
        it does not count, since it may take no part in choosing.
        """
        own = [trial for trial in self.trials if trial.row["kind"] != "replicate"]
        counted = own if split and own else self.trials
        pairs = [pair for trial in counted if (pair := trial.log_ratios(split)) is not None]
        if not pairs:
            return None
        return (
            math.fsum(retain for retain, _ in pairs) / len(pairs),
            math.fsum(forget for _, forget in pairs) / len(pairs),
        )
