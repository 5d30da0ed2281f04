"""What a sweep's terminal output ends with: the table of variants, and where to look further."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from platform.storage.best_trial import is_feasible
from platform.storage.replica import place
from platform.storage.variants import Row, Variant, failures, metric_labels, variants
from platform.tracking.tags import without_password

if TYPE_CHECKING:
    from platform.plan.plan import Plan

# in a job's environment: the address that it was submitted to, by which it is submitted again
SUBMITTED_TO = "UNLEARN_SUBMITTED_TO"
_HEADS = ("", "retain", "forget", "retain", "forget", "alpha", "rate", "pictures")


def summary(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """The variants in a table: each at its defaults, and its best feasible trial.

    Args:
        plan: the sweep.
        rows: of `results.parquet`.
    """
    shown = variants(rows, [group.label for group in plan.groups])
    if not any(variant.finished for variant in shown):
        return [failures(rows) or "No trial has ended."]
    table = [_cells(variant, several=len({each.model for each in shown}) > 1) for variant in shown]
    every = [_HEADS, *table]
    widths = [max(len(row[column]) for row in every) for column in range(len(_HEADS))]
    gap = "  "
    own = len(gap.join("x" * width for width in widths[1:3]))
    best = len(gap.join("x" * width for width in widths[3:7]))
    above = gap.join(
        ["".ljust(widths[0]), "at its defaults".center(own), "best feasible".center(best)]
    )
    name = metric_labels(rows)["fid"]
    tolerance = plan.groups[0].config.evaluation.retain_tolerance
    lines = [
        f"{name} of the test images; good is low on retain and high on forget.",
        f"Chosen on validation: retain {name} at most {1 + tolerance:.2f} of the original's, then "
        "the highest forget.",
        *_grey(shown),
        "",
        above.rstrip(),
        *(_line(row, widths) for row in every),
        *_star(table),
    ]
    lost = failures(rows)
    return [*lines, *([lost] if lost else [])]


def _star(table: Sequence[Sequence[str]]) -> list[str]:
    """What the star after a variant says, where there is one."""
    starred = any(row[0].endswith("*") for row in table)
    return ["", "* keeps too little of the retain set, on validation"] if starred else []


def _grey(shown: Sequence[Variant]) -> list[str]:
    """How far forgetting can be told: a completion that knows nothing, against the original."""
    originals = [variant for variant in shown if variant.is_original]
    found = [
        f"{row['grey/forget/fid'] / row['forget/fid']:.1f} times the original's forget"
        + (f" of {variant.model}" if len({each.model for each in shown}) > 1 else "")
        for variant, row in ((each, each.default) for each in originals)
        if row is not None and row.get("grey/forget/fid")
    ]
    return [f"A flat grey completion scores {', '.join(found)}."] if found else []


def _cells(variant: Variant, *, several: bool) -> tuple[str, ...]:
    label = f"{variant.model}: {variant.label}" if several else variant.label
    own, best = variant.default, None if variant.is_reference else variant.best
    mark = "" if own is None or variant.is_reference or is_feasible(own["val/violation"]) else "*"
    pictures = best or own
    lacking = "failed" if _has_failed_default(variant) else "to run"
    if best is not None:
        chosen = (*_figures(best), f"{best['forget_alpha']:.3g}", f"{best['lr']:.2g}")
    elif variant.is_reference:
        chosen = ("", "", "", "")
    else:
        chosen = ("none", f"of {len(variant.finished)}", "", "")
    return (
        label + mark,
        *(_figures(own) if own is not None else (lacking, "")),
        *chosen,
        f"trials/{pictures['name']}/samples.png" if pictures is not None else "",
    )


def _has_failed_default(variant: Variant) -> bool:
    return any(row["kind"] == "default" and row["state"] == "failed" for row in variant.trials)


def _figures(row: Row) -> tuple[str, str]:
    return f"{row['retain/fid']:.1f}", f"{row['forget/fid']:.1f}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    texts = (0, len(widths) - 1)
    return "  ".join(
        cell.ljust(width) if column in texts else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()


def commands(plan: Plan, tracking_uri: str, page: str) -> list[str]:
    """The commands that look further into a sweep.

    Args:
        plan: the sweep.
        tracking_uri: of the record, without a password.
        page: of MLflow's user interface, from `#` on.
    """
    python = interpreter()
    storage = place(plan)
    where = "" if storage == "runs" else f" --storage {shlex.quote(storage)}"
    analyses = {
        "report": "one page on all of it; --publish puts it into the record",
        "tables": "the paper's CSV files, Markdown, LaTeX",
        "samples": "the variants side by side on the same images",
        "tsne": "embeddings of forget and retain images",
        "ablation": "forget_alpha against retain and forget distance",
    }
    lines = [
        f"Everything is in {storage}/{plan.name}/ (results.parquet: a row a trial). "
        "To look further:"
    ]
    asked = [(f"{python} -m analysis.{n} {plan.name}{where}", text) for n, text in analyses.items()]
    if not tracking_uri.startswith("http"):
        uri = shlex.quote(_database(tracking_uri))
        asked.append((f"{python} -m mlflow ui --backend-store-uri {uri}", "the record, served at"))
    width = max(len(command) for command, _ in asked)
    lines += [f"  {command:<{width}}  # {text}" for command, text in asked]
    server = tracking_uri if tracking_uri.startswith("http") else "http://127.0.0.1:5000"
    return [*lines, f"  {server.rstrip('/')}/{page}"]


def _database(tracking_uri: str) -> str:
    """Its address; a file by its path from the working folder."""
    scheme = "sqlite:///"
    if not tracking_uri.startswith(scheme):
        return tracking_uri
    return scheme + _relative(Path(tracking_uri.removeprefix(scheme)))


def resume_command(plan: Plan, tracking_uri: str | None, address: str | None = None) -> str:
    """How an interrupted sweep goes on; a password of the server's address is left to the user.

    Args:
        plan: the sweep.
        tracking_uri: of an MLflow server; None for the storage's own.
        address: of a Ray cluster, where it runs on one.
    """
    where = ["--address", address] if address else []
    return _command(plan, tracking_uri, "--name", plan.name, "--resume", *where)


def sync_command(plan: Plan, tracking_uri: str | None) -> str:
    """How the record is brought up to date; as `resume_command`."""
    return _command(plan, tracking_uri, "--sync", plan.name)


def _command(plan: Plan, tracking_uri: str | None, *options: str) -> str:
    dashboard = os.environ.get(SUBMITTED_TO)
    if dashboard and "--address" in options:
        options = (*options[: options.index("--address")], "--address", dashboard)
        parts = ["python", "-m", "platform.submit", *options]
    else:
        parts = [interpreter(), "-m", "platform.sweep", *options]
    if place(plan) != "runs":
        parts += ["--storage", place(plan)]
    if tracking_uri:
        parts += ["--tracking-uri", without_password(tracking_uri)]
    return shlex.join(parts)


def interpreter() -> str:
    """This Python as a user would type it."""
    found = shutil.which("python")
    if found and Path(found).parent == Path(sys.executable).parent:
        return "python"
    return _relative(Path(sys.executable))


def _relative(path: Path) -> str:
    """From the working folder where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
