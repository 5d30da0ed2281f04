"""`python -m analysis.ablation NAME`: forget_alpha against the retain and the forget distance."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import cli
from analysis.style import INK, label_distance, legend_below, log_ticks, styles
from analysis.tables_io import write_csv
from platform.storage.ranking import is_feasible
from platform.storage.sweep_folder import RecordError
from platform.storage.variants import Row, Variant, metric_labels

TRIAL_COLUMNS = ("model", "group", "name", "kind", "forget_alpha", "lr", "seed", "retain_source")
METRICS = ("retain/fid", "forget/fid", "val/objective", "val/violation")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    text = "forget_alpha against retain and forget distance, a point a finished trial."
    return cli.run("analysis.ablation", text, write_curves, argv)


def write_curves(analysis: cli.Analysis) -> list[Path]:
    """Writes `MODEL_ablation.png` and `.pdf` for each model, and `ablation.csv`, the trials.

    Raises:
        RecordError: no trial that unlearns has finished.
    """
    written = [analysis.out / "ablation.csv"]
    models = {
        model: variants
        for model, variants in analysis.by_model().items()
        if any(_trials(variant) for variant in variants)
    }
    if not models:
        raise RecordError(
            f"sweep {analysis.sweep.name!r} has no finished trial with a forget_alpha"
        )
    columns = [*TRIAL_COLUMNS, *METRICS]
    trials = (row for variants in models.values() for each in variants for row in _trials(each))
    write_csv(written[0], columns, ([row.get(name) for name in columns] for row in trials))
    for model, variants in models.items():
        written += analysis.save(_figure(analysis, model, variants), f"{model}_ablation")
    return written


def _trials(variant: Variant) -> list[Row]:
    """Returns the finished trials of a positive alpha, which a logarithmic axis can show."""
    if variant.is_reference:
        return []
    return sorted(
        (row for row in variant.finished if row["forget_alpha"] > 0),
        key=lambda row: float(row["forget_alpha"]),
    )


def _figure(analysis: cli.Analysis, model: str, variants: Sequence[Variant]) -> Figure:
    name = metric_labels(analysis.sweep.rows())["fid"]
    figure = Figure(figsize=(10.5, 5.0), layout="constrained")
    sides = figure.subplots(1, 2)
    for axes, role in zip(sides, ("retain", "forget"), strict=True):
        _draw(axes, f"{role}/fid", variants)
        label_distance(axes, role, name)
    legend_below(figure, sides[0])
    figure.suptitle(
        f"{model}: weight of the forget term, sweep {analysis.sweep.name}\n"
        "a point a trial, whose learning rate may differ; filled: feasible on validation",
        fontsize=11,
    )
    return figure


def _draw(axes: Axes, metric: str, variants: Sequence[Variant]) -> None:
    drawn = styles(variants)
    for variant in (variant for variant in variants if _trials(variant)):
        colour, marker = drawn[variant.group].colour, drawn[variant.group].marker
        rows = _trials(variant)
        across = [row["forget_alpha"] for row in rows]
        up = [row[metric] for row in rows]
        # a line between trials of different rates would show a curve that nobody measured
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
    log_ticks(axes.xaxis)
    axes.set_xlabel("forget_alpha")


if __name__ == "__main__":
    sys.exit(main())
