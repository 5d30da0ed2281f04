"""`python -m analysis.ablation NAME`: forget_alpha against the retain and the forget distance."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import cli
from analysis.style import GRID, INK, log_ticks, styles
from platform.storage.best_trial import is_feasible
from platform.tracking.recorder import RecordError, Row, Variant, metric_labels

POINT_COLUMNS = ("model", "group", "name", "kind", "forget_alpha", "lr", "seed", "retain_source")
METRICS = ("retain/fid", "forget/fid", "val/objective", "val/violation")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    text = "forget_alpha against retain and forget distance, a point a finished trial."
    return cli.run("analysis.ablation", text, write_curves, argv)


def write_curves(request: cli.Request) -> list[Path]:
    """Writes `MODEL_ablation.png` and `.pdf` for each model, and `ablation.csv`, the points.

    Raises:
        RecordError: no trial that unlearns has finished.
    """
    written = [request.out / "ablation.csv"]
    models = {
        model: variants
        for model, variants in request.by_model().items()
        if any(_points(variant) for variant in variants)
    }
    if not models:
        raise RecordError(f"sweep {request.sweep.name!r} has no finished trial with a forget_alpha")
    with written[0].open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*POINT_COLUMNS, *METRICS])
        for variant in (variant for variants in models.values() for variant in variants):
            for row in _points(variant):
                writer.writerow([row.get(name) for name in (*POINT_COLUMNS, *METRICS)])
    for model, variants in models.items():
        written += request.save(_figure(request, model, variants), f"{model}_ablation")
    return written


def _points(variant: Variant) -> list[Row]:
    """The finished trials that have a place on a logarithmic axis of alpha."""
    if variant.is_reference:
        return []
    return sorted(
        (row for row in variant.finished if row["forget_alpha"] > 0),
        key=lambda row: float(row["forget_alpha"]),
    )


def _figure(request: cli.Request, model: str, variants: Sequence[Variant]) -> Figure:
    name = metric_labels(request.sweep.rows())["fid"]
    figure = Figure(figsize=(10.5, 5.0), layout="constrained")
    sides = figure.subplots(1, 2)
    for axes, role, good in zip(sides, ("retain", "forget"), ("lower", "higher"), strict=True):
        _draw(axes, f"{role}/fid", variants)
        axes.set_title(f"{role} images ({good} is better)", fontsize=11)
        axes.set_ylabel(f"{role} {name}")
    handles, labels = sides[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(
        f"{model}: weight of the forget term, sweep {request.sweep.name}\n"
        "a point a trial, whose learning rate may differ; filled: feasible on validation",
        fontsize=11,
    )
    return figure


def _draw(axes: Axes, metric: str, variants: Sequence[Variant]) -> None:
    drawn = styles(variants)
    for variant in (variant for variant in variants if _points(variant)):
        colour, marker = drawn[variant.group].colour, drawn[variant.group].marker
        rows = _points(variant)
        across = [row["forget_alpha"] for row in rows]
        up = [row[metric] for row in rows]
        # A line between trials of different rates would show a curve that nobody measured.
        line = drawn[variant.group].line if len({row["lr"] for row in rows}) == 1 else "none"
        axes.plot(across, up, color=colour, linestyle=line, linewidth=0.8)
        face = [colour if is_feasible(row["val/violation"]) else "none" for row in rows]
        axes.scatter(across, up, s=48, marker=marker, facecolors=face, edgecolors=colour, zorder=3)
        axes.scatter([], [], s=48, color=colour, marker=marker, label=variant.label)  # the legend
    for variant in variants:
        if variant.is_reference and variant.default is not None:
            level, line = variant.default[metric], drawn[variant.group].line
            axes.axhline(level, color=INK, linestyle=line, linewidth=1.2, label=variant.label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    log_ticks(axes.xaxis)
    log_ticks(axes.yaxis)
    axes.set_xlabel("forget_alpha")
    axes.grid(visible=True, color=GRID, linewidth=0.6)


if __name__ == "__main__":
    sys.exit(main())
