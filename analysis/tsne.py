"""`python -m analysis.tsne NAME`: the recorded t-SNE of each variant's embeddings, in panels."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from analysis import cli
from trainables.evaluation.figures import GROUPS, tsne_panel

_COLUMNS = 4


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    text = "The t-SNE of each variant's embeddings: original and unlearned, retain and forget."
    return cli.run("analysis.tsne", text, write_figures, argv, offers_best=True)


def write_figures(analysis: cli.Analysis) -> list[Path]:
    """Writes `MODEL_tsne.pdf` and `.png`, a panel a variant, for each model.

    Raises:
        RecordError: no trial has finished, or a finished trial's embeddings are missing or damaged.
    """
    written: list[Path] = []
    for model, variants in analysis.by_model().items():
        shown = analysis.shown(variants)
        stem = f"{model}_tsne_best" if analysis.best else f"{model}_tsne"
        written += analysis.save(_figure(analysis, model, shown), stem)
    return written


def _figure(analysis: cli.Analysis, model: str, shown: Sequence[cli.Shown]) -> Figure:
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.3 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (variant, row) in zip(panels, shown, strict=False):
        table = analysis.sweep.trial_table(row, "embeddings.parquet")
        points = np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()])
        tsne_panel(axes, points, table["group"].to_pylist())
        axes.set_title(f"{variant.label}  ({row['name']})", fontsize=10)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    handles, labels = max(
        (axes.get_legend_handles_labels() for axes in panels), key=lambda legend: len(legend[1])
    )
    figure.legend(handles, labels, loc="outside lower center", ncols=len(GROUPS), frameon=False)
    figure.suptitle(f"{model}: t-SNE of embeddings of completed test images, {analysis.chosen}")
    return figure


if __name__ == "__main__":
    sys.exit(main())
