"""Chooses a trial for each variant on validation images, and shows its figures on test images."""

from __future__ import annotations

import math
from typing import Any

from analysis.comparisons import Comparison, Member
from analysis.criterion import Criterion, percent
from analysis.seed_groups import SeedGroup
from analysis.statistics import rank_correlation
from analysis.tables_io import Column, Table
from platform.storage.ranking import is_feasible, rank
from platform.storage.variants import is_reference

TOLERANCES = (0.05, 0.10, 0.20)
_AGREED = 0.9  # least rank correlation by which a choice on validation images is trusted
_ROUNDING = 1e-12  # a trial on the limit is within it, whatever the rounding


def chosen(member: Member, tolerance: float) -> SeedGroup | None:
    """Returns the trials of the highest forget distance that kept the retain set, on validation.

    Args:
        member: a variant.
        tolerance: how far the retain distance may rise above the original's; 0.10 is 10 %.

    Returns:
        The first of equally good ones; None where no trial kept within the tolerance.
    """
    limit = math.log1p(tolerance) + _ROUNDING
    measured = [(group, forget, retain - limit) for group, (retain, forget) in member.candidates]
    best = max(measured, key=lambda each: rank(each[1], each[2]), default=None)
    return best[0] if best is not None and is_feasible(best[2]) else None


def figures(group: SeedGroup) -> dict[str, Any]:
    """Returns the searched values and the test figures of a seed group, by the columns' keys."""
    row = group.first.row
    searched = {} if is_reference(row) else row
    values: dict[str, Any] = {
        "forget_alpha": searched.get("forget_alpha"),
        "lr": searched.get("lr"),
        "seeds": len(group.trials),
        "gap": None if row["method"] == "retrained" else group.estimate("gap"),
    }
    for role in ("retain", "forget"):
        spread = group.estimate(f"{role}/is_std")
        values |= {
            f"{role}_fd": group.estimate(f"{role}/fid"),
            f"{role}_kid": group.estimate(f"{role}/kid_mean"),
            f"{role}_is": group.estimate(f"{role}/is_mean"),
            f"{role}_is_split_std": None if spread is None else spread.mean,
            f"{role}_cosine": group.estimate(f"{role}/clip"),
        }
    return values


def choices(comparison: Comparison, criterion: Criterion) -> Table:
    """Makes the table of each variant's choice at 5, 10 and 20 %, with its test figures."""
    rows = []
    for tolerance in TOLERANCES:
        for member in comparison.contenders:
            start = {"tolerance": percent(tolerance), "variant": member.variant.label}
            group = chosen(member, tolerance)
            if group is None:
                rows.append(start | {"trial": f"none of {len(member.candidates)}"})
            else:
                trial = {"trial": group.first.row["name"]}
                rows.append(start | trial | figures(group) | _over_original(group))
    gap = comparison.reference("retrained") is not None
    return Table(
        name=f"{comparison.stem}_choices",
        caption=f"{comparison.title}: choice under retain constraints",
        columns=(
            Column(key="tolerance", heading="Retain within"),
            Column(key="variant", heading="Variant"),
            Column(key="trial", heading="Trial"),
            Column(key="val_retain", heading="validation retain / original", kind="number"),
            Column(key="val_forget", heading="validation forget / original", kind="number"),
            Column(key="seeds", heading="seeds", kind="integer"),
            Column(key="test_retain", heading="test retain / original", kind="number"),
            *criterion.distance_columns(start="test "),
            *([Column(key="gap", heading="gap to retrained ↓", kind="estimate")] if gap else []),
        ),
        rows=rows,
        notes=(
            "Chosen on validation images, measured on test images: a trial that kept the retain "
            "set on validation may have lost it on test.",
        ),
    )


def agreement(comparison: Comparison) -> str:
    """Says how far validation images rank a comparison's trials as test images do."""
    trials = [trial for member in comparison.members for trial in member.trials]
    parts, low = [], False
    for role in ("retain", "forget"):
        names = (f"val/{role}/fid", f"{role}/fid")
        rows = [trial.row for trial in trials if all(trial.row.get(n) is not None for n in names)]
        found = rank_correlation([(row[names[0]], row[names[1]]) for row in rows])
        if found is None:
            continue
        ends = "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]"
        parts.append(f"{found.mean:.2f}{ends} by the {role} distance")
        low |= found.mean < _AGREED
    if not parts:
        return f"{comparison.title}: too few trials to tell whether validation ranks as test does."
    doubt = " They disagree: raise data.val_per_class and data.test_per_class." * low
    return (
        f"{comparison.title}: rank correlation of validation and test (Spearman's, with its 95 % "
        f"interval) {' and '.join(parts)}, over {len(trials)} trials.{doubt}"
    )


def _over_original(group: SeedGroup) -> dict[str, float]:
    """Returns the distances over the original's: both on validation, the retained on test."""
    validation, test = group.log_ratios("val/"), group.log_ratios()
    ratios: dict[str, float] = {}
    if validation is not None:
        ratios = {"val_retain": math.exp(validation[0]), "val_forget": math.exp(validation[1])}
    if test is not None:
        ratios["test_retain"] = math.exp(test[0])
    return ratios
