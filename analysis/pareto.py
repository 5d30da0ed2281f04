"""Shows what each variant trades, forget against retain distance: its front, its hypervolume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.comparisons import Comparison, Member
from analysis.criterion import Criterion
from analysis.statistics import Pair, hypervolume, pareto
from analysis.style import GRID, INK, Style, legend_below, log_ticks, styles
from analysis.tables_io import Column, Table

# the worst values that count: twice the original's retain distance, and its forget distance
REFERENCE: Pair = (math.log(2.0), 0.0)


def _log_ratios(member: Member, split: str = "") -> list[Pair]:
    found = (trial.log_ratios(split) for trial in member.trials)
    return [pair for pair in found if pair is not None]


def front_table(comparison: Comparison) -> Table:
    """Makes the table of the hypervolume of each variant's trials."""
    rows = []
    for member in comparison.contenders:
        test, validation = _log_ratios(member), _log_ratios(member, "val/")
        rows.append(
            {
                "variant": member.variant.label,
                "trials": len(test),
                "front": len(pareto(test)),
                "test": hypervolume(test, REFERENCE),
                "validation": hypervolume(validation, REFERENCE),
            }
        )
    return Table(
        name=f"{comparison.stem}_hypervolume",
        caption=f"{comparison.title}: hypervolume of each variant's trials",
        columns=(
            Column(key="variant", heading="Variant"),
            Column(key="trials", heading="finished trials", kind="integer"),
            Column(key="front", heading="on its front", kind="integer"),
            Column(key="test", heading="hypervolume, test ↑", kind="number", form=".3f"),
            Column(
                key="validation", heading="hypervolume, validation ↑", kind="number", form=".3f"
            ),
        ),
        rows=rows,
        notes=(
            "Area that the trials dominate in x = log(retain distance / original's), low is good, "
            "and y = log(forget distance / original's), high is good, up to the reference point "
            f"x = log 2 = {REFERENCE[0]:.3f}, y = 0.",
            "More trials can only enlarge it: compare variants of equal numbers of trials.",
        ),
    )


def front_figure(comparison: Comparison, criterion: Criterion) -> Figure:
    """Draws every finished trial on test images, with the front of each variant."""
    figure = Figure(figsize=(8.4, 5.8), layout="constrained")
    axes = figure.subplots()
    drawn = styles(member.variant for member in comparison.members)
    for member in comparison.members:
        if found := _log_ratios(member):
            style = drawn[member.variant.group]
            draw = _draw_reference if member.variant.is_reference else _draw
            draw(axes, found, style, member.variant.label)
    most = 1.0 + criterion.tolerance
    axes.axvline(most, color=INK, linewidth=1.0, linestyle=":")
    axes.annotate(
        f" retain limit, {most:.2f}", (most, 0.005), xycoords=("data", "axes fraction"), fontsize=8
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    log_ticks(axes.xaxis)
    log_ticks(axes.yaxis)
    axes.grid(visible=True, color=GRID, linewidth=0.6)
    axes.set_xlabel(f"retain {criterion.labels['fid']} / original's (lower is better)")
    axes.set_ylabel(f"forget {criterion.labels['fid']} / original's (higher is better)")
    axes.set_title(f"{comparison.title}: test images, a point a finished trial", fontsize=11)
    legend_below(figure, axes)
    return figure


def _draw(axes: Axes, found: Sequence[Pair], style: Style, label: str) -> None:
    """Draws all trials of a variant, hollow, and its front, filled."""
    across, up = ([math.exp(value) for value in side] for side in zip(*found, strict=True))
    look: dict[str, Any] = {
        "marker": style.marker,
        "edgecolors": style.colour,
        "facecolors": "none",
    }
    axes.scatter(across, up, s=34, alpha=0.8, **look)
    front = pareto(found)
    axes.plot(
        [across[at] for at in front],
        [up[at] for at in front],
        color=style.colour,
        linestyle=style.line,
        marker=style.marker,
        drawstyle="steps-post",
        label=label,
    )


def _draw_reference(axes: Axes, found: Sequence[Pair], style: Style, label: str) -> None:
    """Draws every trial of a reference, which differ in their seeds."""
    across, up = ([math.exp(value) for value in side] for side in zip(*found, strict=True))
    look: dict[str, Any] = {"marker": style.marker, "linestyle": "none", "label": label}
    axes.plot(across, up, color=style.colour, markersize=12, markeredgewidth=2, zorder=5, **look)
