"""`python -m analysis.report NAME`: one page on a sweep, with its figures and tables.

The page is a single HTML file without any address to load from. Beside it lie every figure (PNG,
PDF) and table (CSV, Markdown, LaTeX, Parquet), and `provenance.json`, which names each file with
its SHA-256.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis import cli
from analysis.page import Section, render
from analysis.provenance import write_provenance
from analysis.report_sections import ReportSections
from platform.storage.sweep_folder import RecordError
from platform.tracking.publish import publish
from trainables.utils.addresses import is_address
from trainables.utils.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    text = "One HTML page on a sweep, with every figure and table of it."
    return cli.run("analysis.report", text, write_report, argv, add_options=_add_options)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--paper", type=Path, metavar="FILE", help="CSV of model,variant,metric,value to compare")
    add("--publish", action="store_true", help="also put the report on the sweep's run in MLflow")
    add("--tracking-uri", metavar="URI", help="of MLflow; default: mlflow.db in the storage")


def write_report(analysis: cli.Analysis) -> list[Path]:
    """Writes `report.html`, its figures and tables, and `provenance.json`, which names them all.

    Returns:
        The page and `provenance.json`.

    Raises:
        RecordError: no trial has finished, or this record does not take the report.
        UserError: the file of published numbers names something that the sweep does not have, or an
            option is given that nothing reads.
    """
    options = analysis.options
    publishes, uri = options.get("publish"), options.get("tracking_uri")
    if uri and not publishes:
        raise UserError("--tracking-uri is read only with --publish: add that, or leave it out")
    if publishes and not uri and is_address(str(options["storage"])):
        raise RecordError(
            "--publish: the record of a sweep behind an address is its driver's alone, which puts "
            "the report there at the end; --tracking-uri names a server"
        )
    report = ReportSections(analysis)
    sections = [
        Section(title=title, anchor=anchor, blocks=list(blocks))
        for title, anchor, blocks in report.sections()
    ]
    page = analysis.out / "report.html"
    page.write_text(
        render(
            f"Sweep {analysis.sweep.name}",
            str(analysis.sweep.plan.get("question", "")),
            sections,
            analysis.source.line,
        ),
        "utf-8",
    )
    listed = analysis.out / "provenance.json"
    files = [page, *dict.fromkeys(report.writer.files)]
    write_provenance(listed, analysis.source, files)
    if publishes:
        publish(analysis.sweep, analysis.out, uri, report.registered())
    return [page, listed]


if __name__ == "__main__":
    sys.exit(main())
