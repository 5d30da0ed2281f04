"""Which trial each variant is chosen by, on validation images, and its figures on test images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.comparisons import Contest, Entrant, Point
from analysis.statistics import choose
from analysis.tables_io import Column, Table
from platform.tracking.recorder import REFERENCES

TOLERANCES = (0.05, 0.10, 0.20)


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a sweep's figures are called, and what it asks of its variants.

    Attributes:
        labels: of `fid`, `is` and `clip`, by the networks that made them.
        tolerance: how far above the original's the validation retain distance may be.
        has_kernel: the kernel distance was measured too.
    """

    labels: Mapping[str, str]
    tolerance: float
    has_kernel: bool = False

    @property
    def fid(self) -> str:
        """The Frechet distance in a heading; by which network, `networks` says."""
        return self.short("fid")

    def short(self, name: str) -> str:
        """A label without its network."""
        return self.labels[name].partition(" (")[0]

    @property
    def networks(self) -> str:
        """A line on what the figures are made by."""
        return f"Figures: {', '.join(self.labels.values())}."


def percent(share: float) -> str:
    """Such as `10 %`."""
    return f"{100 * share:g} %"


def chosen(entrant: Entrant, tolerance: float) -> Point | None:
    """The point of the highest validation forget distance that kept the validation retain set."""
    candidates = entrant.candidates
    at = choose([place for _, place in candidates], tolerance)
    return None if at is None else candidates[at][0]


def figures(point: Point) -> dict[str, Any]:
    """A point's settings and test figures by the columns' keys."""
    row = point.first.row
    searched = {} if row["method"] in REFERENCES else row
    values: dict[str, Any] = {
        "forget_alpha": searched.get("forget_alpha"),
        "lr": searched.get("lr"),
        "seeds": len(point.trials),
        "gap": None if row["method"] == "retrained" else point.estimate("gap"),
    }
    for role in ("retain", "forget"):
        spread = point.estimate(f"{role}/is_std")
        values |= {
            f"{role}_fd": point.estimate(f"{role}/fid"),
            f"{role}_kid": point.estimate(f"{role}/kid_mean"),
            f"{role}_is": point.estimate(f"{role}/is_mean"),
            f"{role}_is_split_std": None if spread is None else spread.mean,
            f"{role}_cosine": point.estimate(f"{role}/clip"),
        }
    return values


def choices(contest: Contest, named: Named) -> Table:
    """Which point each variant is chosen by at 5, 10 and 20 %, and its test figures."""
    rows = []
    for tolerance in TOLERANCES:
        for entrant in contest.contenders:
            start = {"tolerance": percent(tolerance), "variant": entrant.variant.label}
            point = chosen(entrant, tolerance)
            if point is None:
                rows.append(start | {"trial": f"none of {len(entrant.candidates)}"})
            else:
                rows.append(start | {"trial": point.first.row["name"]} | _chosen(point))
    gap = contest.reference("retrained") is not None
    return Table(
        name=f"{contest.stem}_choices",
        caption=f"{contest.title}: choice under retain constraints",
        columns=(
            Column(key="tolerance", heading="Retain within"),
            Column(key="variant", heading="Variant"),
            Column(key="trial", heading="Trial"),
            Column(key="val_retain", heading="validation retain / original", kind="number"),
            Column(key="val_forget", heading="validation forget / original", kind="number"),
            Column(key="seeds", heading="seeds", kind="integer"),
            Column(key="test_retain", heading="test retain / original", kind="number"),
            Column(key="retain_fd", heading=f"test retain {named.fid} ↓", kind="estimate"),
            Column(key="forget_fd", heading=f"test forget {named.fid} ↑", kind="estimate"),
            *([Column(key="gap", heading="gap to retrained ↓", kind="estimate")] if gap else []),
        ),
        rows=rows,
        notes=(
            "Chosen on validation images, measured on test images: a trial that kept the retain "
            "set on validation may have lost it on test.",
        ),
    )


def _chosen(point: Point) -> dict[str, Any]:
    validation, test = point.place("val/"), point.place()
    ratios: dict[str, float] = {}
    if validation is not None:
        ratios = {"val_retain": math.exp(validation[0]), "val_forget": math.exp(validation[1])}
    if test is not None:
        ratios["test_retain"] = math.exp(test[0])
    return {**figures(point), **ratios}
