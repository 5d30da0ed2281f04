"""`python -m analysis.tables NAME`: the paper's two CSV files, and a table in Markdown and LaTeX.

The CSV files hold every finished trial, a row a checkpoint and test configuration, further test
tasks among these; the table holds each variant at its defaults and its best feasible trial.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import cli
from analysis.criterion import arrow
from analysis.tables_io import latex, markdown
from analysis.trial_configs import further_tasks
from platform.tracking.recorder import RecordError, Variant, failures, metric_labels

ROLES = ("retain", "forget")
FID_HEADER = (
    "CKPT+Config",
    *(f"{name} {role}" for role in ROLES for name in ("FID", "mean IS", "std IS")),
)
CLIP_HEADER = ("CKPT+Config", *(f"CLIP {role}" for role in ROLES))
FID_METRICS = tuple(f"{role}/{name}" for role in ROLES for name in ("fid", "is_mean", "is_std"))
CLIP_METRICS = tuple(f"{role}/clip" for role in ROLES)
# figure to the metric that is its value, the metric that is its spread, and digits
_FIGURES = {
    "fid": ("fid", "", 2),
    "kid": ("kid_mean", "kid_std", 4),
    "is": ("is_mean", "is_std", 2),
    "clip": ("clip", "", 4),
}
_NETWORKS = ("fid_extractor", "is_extractor", "clip_model")


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
        _write_csv(fid, FID_HEADER, FID_METRICS, rows)
        _write_csv(clip, CLIP_HEADER, CLIP_METRICS, rows)
        written += [fid, clip]
    headings, body, notes = _table(analysis)
    texts = headings.index("Trial") + 1
    for path, text in (
        (analysis.out / "table.md", markdown(headings, body, notes, texts)),
        (analysis.out / "table.tex", latex(headings, body, notes, texts)),
    ):
        path.write_text(text, "utf-8")
        written.append(path)
    return written


def _tested(row: Mapping[str, Any]) -> list[Tested]:
    """Returns a trial on its own test task, and on each further one."""
    return [
        Tested(row=row, task=row["test_task"]),
        *(Tested(row=row, task=task, prefix=f"{task}/") for task in further_tasks(row)),
    ]


def _write_csv(
    path: Path, header: Sequence[str], metrics: Sequence[str], rows: Sequence[Tested]
) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for each in rows:
            figures = (each.row.get(each.prefix + metric) for metric in metrics)
            writer.writerow([f"{each.row['name']}/{each.task}", *figures])


def _table(analysis: cli.Analysis) -> tuple[list[str], list[list[str]], list[str]]:
    """Returns the headings, the rows of cells, and the notes below."""
    rows = analysis.sweep.rows()
    names = _names(rows)
    headings = ["Model", "Variant", "Trial", "forget_alpha", "lr"]
    headings += [f"{role} {names[name]} {arrow(role, name)}" for role in ROLES for name in names]
    body = [cells for variant in analysis.variants() for cells in _variant_rows(variant, names)]
    made = [sorted({row[name] for row in rows if row.get(name)}) for name in _NETWORKS]
    notes = [
        "Good unlearning keeps the retain figures and loses the forget figures (arrows: better).",
        "IS: mean ± standard deviation over its splits, not over seeds.",
        "Feasible: the validation retain distance stays within its limit, val/violation <= 0; "
        "best: the highest val/objective.",
        "Measured by: "
        + "; ".join(
            f"{figure}, {', '.join(each) or 'not recorded'}"
            for figure, each in zip(("Frechet distance", "IS", "cosine"), made, strict=True)
        )
        + ". The CSV files call the first FID and the last CLIP, as the paper's do.",
    ]
    notes += [*filter(None, [failures(rows)]), analysis.source.line]
    if len(analysis.by_model()) == 1:  # a column of equal cells says nothing
        notes.insert(0, f"Model: {body[0][0]}.")
        headings, body = headings[1:], [cells[1:] for cells in body]
    return headings, body, notes


def _names(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Returns the label of each figure; the kernel distance is one where it was measured."""
    names = metric_labels(rows)
    if any(row.get("retain/kid_mean") is not None for row in rows):
        names["kid"] = "KID"
    return {name: names[name] for name in _FIGURES if name in names}


def _variant_rows(variant: Variant, names: Iterable[str]) -> list[list[str]]:
    start = [variant.model, variant.label]
    if variant.is_reference:
        return [_cells(start, "reference", variant.default, names, tuned=False)]
    lost = [row["failure"] or row["state"] for row in variant.trials if row["kind"] == "default"]
    failed = "" if variant.default else f": {', '.join(lost) or 'not run'}"
    rows = [_cells(start, f"default{failed}", variant.default, names)]
    if not variant.finished:
        return rows
    if variant.best is None:
        return [*rows, _cells(start, f"none of {len(variant.finished)} is feasible", None, names)]
    if variant.best is variant.default:
        return [_cells(start, "default, also the best feasible", variant.default, names)]
    return [*rows, _cells(start, f"best feasible: {variant.best['name']}", variant.best, names)]


def _cells(
    start: Sequence[str],
    trial: str,
    row: Mapping[str, Any] | None,
    names: Iterable[str],
    *,
    tuned: bool = True,
) -> list[str]:
    shown = [(role, *_FIGURES[name]) for role in ROLES for name in names]
    if row is None:
        return [*start, trial, *["–"] * (2 + len(shown))]
    chosen = ["–", "–"]
    if tuned:
        chosen = [f"{row['forget_alpha']:.3g}", f"{row['lr']:.2g}"]
    figures = []
    for role, value, spread, digits in shown:
        figure = _number(row.get(f"{role}/{value}"), digits)
        if spread:
            figure += f" ± {_number(row.get(f'{role}/{spread}'), digits)}"
        figures.append(figure)
    return [*start, trial, *chosen, *figures]


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
