"""`python -m analysis.tables NAME`: the paper's two CSV files, and a table in Markdown and LaTeX.

The CSV files hold every finished trial, a row a checkpoint and test configuration, further test
tasks among these; the table holds each variant at its defaults and its best feasible trial.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import cli
from analysis.criterion import arrow
from analysis.tables_io import Column, Table, latex, markdown, write_csv
from analysis.trial_configs import further_tasks
from platform.storage.results import EXTRACTORS
from platform.storage.sweep_folder import RecordError
from platform.storage.variants import Variant, failures, metric_labels

ROLES = ("retain", "forget")
FID_HEADER = (
    "CKPT+Config",
    *(f"{name} {role}" for role in ROLES for name in ("FID", "mean IS", "std IS")),
)
CLIP_HEADER = ("CKPT+Config", *(f"CLIP {role}" for role in ROLES))
FID_METRICS = tuple(f"{role}/{name}" for role in ROLES for name in ("fid", "is_mean", "is_std"))
CLIP_METRICS = tuple(f"{role}/clip" for role in ROLES)
# figure to the metric that is its value, the metric that is its spread, and its format
_FIGURES = {
    "fid": ("fid", "", ".2f"),
    "kid": ("kid_mean", "kid_std", ".4f"),
    "is": ("is_mean", "is_std", ".2f"),
    "clip": ("clip", "", ".4f"),
}


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A finished trial on one test task.

    Attributes:
        row: the trial's row of `results.parquet`.
        task: the task, such as `centre_0.5`.
        prefix: the prefix of that task's metrics, empty for the trial's own task.
    """

    row: Mapping[str, Any]
    task: str
    prefix: str = ""

    def cells(self, metrics: Iterable[str]) -> list[Any]:
        """Returns its name with the task, and its metrics; None where one was not measured."""
        figures = (self.row.get(self.prefix + metric) for metric in metrics)
        return [f"{self.row['name']}/{self.task}", *figures]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    return cli.run("analysis.tables", "The tables of a sweep.", write_tables, argv)


def write_tables(analysis: cli.Analysis) -> list[Path]:
    """Writes the CSV files of each mode that was tested, `table.md` and `table.tex`.

    Raises:
        RecordError: no trial has finished.
    """
    finished = [row for row in analysis.sweep.rows() if row["state"] == "finished"]
    if not finished:
        raise RecordError(f"sweep {analysis.sweep.name!r} has no finished trial to tabulate")
    modes: dict[str, list[Tested]] = {}
    for tested in (each for row in finished for each in _tested(row)):
        outside = tested.task.startswith("outpaint")
        modes.setdefault("outpaint" if outside else "inpaint", []).append(tested)
    written = []
    for mode, rows in modes.items():
        fid, clip = (analysis.out / f"{name}_{mode}.csv" for name in ("fid_is_eval", "clip_cosine"))
        write_csv(fid, FID_HEADER, (each.cells(FID_METRICS) for each in rows))
        write_csv(clip, CLIP_HEADER, (each.cells(CLIP_METRICS) for each in rows))
        written += [fid, clip]
    table = _table(analysis)
    for suffix, text in (("md", markdown(table)), ("tex", latex(table))):
        path = analysis.out / f"{table.name}.{suffix}"
        path.write_text(text, "utf-8")
        written.append(path)
    return written


def _tested(row: Mapping[str, Any]) -> list[Tested]:
    """Returns a trial on its own test task, and on each further one."""
    return [
        Tested(row=row, task=row["test_task"]),
        *(Tested(row=row, task=task, prefix=f"{task}/") for task in further_tasks(row)),
    ]


def _table(analysis: cli.Analysis) -> Table:
    """Makes the table of each variant at its defaults and of its best feasible trial."""
    rows = analysis.sweep.rows()
    labels = metric_labels(rows)
    if any(row.get("retain/kid_mean") is not None for row in rows):
        labels["kid"] = "KID"
    models = list(analysis.by_model())
    made = [sorted({row[name] for row in rows if row.get(name)}) for name in EXTRACTORS]
    measured = "; ".join(
        f"{figure}, {', '.join(each) or 'not recorded'}"
        for figure, each in zip(("Frechet distance", "IS", "cosine"), made, strict=True)
    )
    return Table(
        name="table",
        caption="",
        columns=(
            # a column of equal cells says nothing
            *([Column(key="model", heading="Model")] if len(models) > 1 else []),
            Column(key="label", heading="Variant"),
            Column(key="trial", heading="Trial"),
            Column(key="forget_alpha", heading="forget_alpha", kind="number", form=".3g"),
            Column(key="lr", heading="lr", kind="number", form=".2g"),
            *(column for role in ROLES for column in _columns(role, labels)),
        ),
        rows=[row for variant in analysis.variants() for row in _rows(variant)],
        notes=(
            *([f"Model: {models[0]}."] if len(models) == 1 else []),
            "Good unlearning keeps the retain figures and loses the forget figures (arrows: "
            "better).",
            "IS: mean ± standard deviation over its splits, not over seeds.",
            "Feasible: the validation retain distance stays within its limit, val/violation <= 0; "
            "best: the highest val/objective.",
            f"Measured by: {measured}. The CSV files call the first FID and the last CLIP, as the "
            "paper's do.",
            *filter(None, [failures(rows)]),
            analysis.source.line,
        ),
    )


def _columns(role: str, labels: Mapping[str, str]) -> list[Column]:
    return [
        Column(
            key=f"{role}/{value}",
            heading=f"{role} {labels[name]} {arrow(role, name)}",
            kind="number",
            form=form,
            spread=f"{role}/{spread}" if spread else "",
        )
        for name, (value, spread, form) in _FIGURES.items()
        if name in labels
    ]


def _rows(variant: Variant) -> list[dict[str, Any]]:
    start = {"model": variant.model, "label": variant.label}
    default, best = dict(variant.default or {}), dict(variant.best or {})
    if variant.is_reference:
        return [default | start | {"trial": "reference", "forget_alpha": None, "lr": None}]
    lost = [row["failure"] or row["state"] for row in variant.trials if row["kind"] == "default"]
    failed = "" if variant.default else f": {', '.join(lost) or 'not run'}"
    rows = [default | start | {"trial": f"default{failed}"}]
    if not variant.finished:
        return rows
    if variant.best is None:
        return [*rows, start | {"trial": f"none of {len(variant.finished)} is feasible"}]
    if variant.best is variant.default:
        return [default | start | {"trial": "default, also the best feasible"}]
    return [*rows, best | start | {"trial": f"best feasible: {best['name']}"}]


if __name__ == "__main__":
    sys.exit(main())
