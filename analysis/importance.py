"""Shows how much each searched field matters to forgetting and to retaining, by variant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis.comparisons import Comparison, Member
from analysis.seed_groups import Trial
from analysis.style import GRID, legend_below
from analysis.tables_io import Column, Table
from platform.search.importance import importances
from platform.storage.sweep_folder import Sweep

LEAST = 8  # finished search trials, below which a share would be noise
_ROLES = ("forget", "retain")


def importance_table(comparison: Comparison, sweep: Sweep) -> Table | None:
    """Makes the table of the shares of variance that each field explains; None without searches.

    Args:
        comparison: the variants; those of fewer than `LEAST` finished search trials are left out.
        sweep: the recorded sweep, whose plan has the search spaces.
    """
    rows = [row for member in comparison.contenders for row in _rows(member, sweep.plan)]
    if not rows:
        return None
    return Table(
        name=f"{comparison.stem}_importance",
        caption=f"{comparison.title}: importance of hyperparameters",
        columns=(
            Column(key="variant", heading="Variant"),
            Column(key="field", heading="Field"),
            Column(key="trials", heading="search trials", kind="integer"),
            Column(key="forget", heading="share for forgetting", kind="number"),
            Column(key="retain", heading="share for retaining", kind="number"),
        ),
        rows=rows,
        notes=(
            "Share of the variance, over the search space, of log(validation distance / "
            "original's) that the field alone or with others explains, by fANOVA (Optuna's).",
            f"Variants of at least {LEAST} finished search trials; of few trials it is a hint.",
        ),
    )


def _rows(member: Member, plan: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the rows of one variant; none where it was not searched enough."""
    space = _space(member, plan)
    usable = [
        (point, ratios)
        for trial in member.trials
        if trial.row["kind"] == "search"
        and (ratios := trial.log_ratios("val/")) is not None
        and (point := _params(trial, space)) is not None
    ]
    if not space or len(usable) < LEAST:
        return []
    points = [point for point, _ in usable]
    shares = {
        role: importances(space, points, [ratios[role == "forget"] for _, ratios in usable])
        for role in _ROLES
    }
    return [
        {
            "variant": member.variant.label,
            "field": name,
            "trials": len(usable),
            **{role: shares[role].get(name) for role in _ROLES},
        }
        for name in space
    ]


def _space(member: Member, plan: Mapping[str, Any]) -> dict[str, str]:
    """Returns the search space that the plan's groups of a variant share; empty without one."""
    spaces = (
        group.get("space", {})
        for group in plan.get("groups", ())
        if group["label"] == member.variant.group
    )
    return next((dict(space) for space in spaces if space), {})


def _params(trial: Trial, space: Mapping[str, str]) -> dict[str, Any] | None:
    """Returns the values of the searched fields; None where one is not known."""
    recorded = json.loads(trial.row["params"]) if trial.row.get("params") else {}
    point = {name: recorded.get(name, trial.config.get(name)) for name in space}
    return None if None in point.values() else point


def importance_figure(table: Table) -> Figure:
    """Draws the shares as bars, in a panel for forgetting and one for retaining."""
    variants = list(dict.fromkeys(row["variant"] for row in table.rows))
    fields = list(dict.fromkeys(row["field"] for row in table.rows))
    figure = Figure(figsize=(9.6, 1.6 + 0.42 * len(variants) * 1.2), layout="constrained")
    sides = figure.subplots(1, 2, sharey=True)
    for axes, role in zip(sides, _ROLES, strict=True):
        _bars(axes, role, table.rows, variants, fields)
        axes.set_title("forgetting" if role == "forget" else "retaining", fontsize=11)
    sides[0].invert_yaxis()  # the panels share it
    legend_below(figure, sides[0])
    figure.suptitle(table.caption, fontsize=11)
    return figure


def _bars(
    axes: Any,
    role: str,
    rows: Sequence[Mapping[str, Any]],
    variants: Sequence[str],
    fields: Sequence[str],
) -> None:
    known = {(row["variant"], row["field"]): row[role] or 0.0 for row in rows}
    start = np.zeros(len(variants))
    looks = (("#0072B2", ""), ("#E69F00", "//"), ("#009E73", ".."), ("#CC79A7", "xx"))
    for at, field in enumerate(fields):
        colour, hatch = looks[at % len(looks)]
        widths = np.array([known.get((variant, field), 0.0) for variant in variants])
        look = {"color": colour, "hatch": hatch, "edgecolor": "white"}
        axes.barh(variants, widths, left=start, label=field, **look)
        start = start + widths
    axes.set_xlim(0.0, 1.0)
    axes.set_xlabel("share of variance explained")
    axes.grid(visible=True, axis="x", color=GRID, linewidth=0.6)
