"""The report at a sweep's end, made by a process of its own: a driver loads no plots."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from platform.plan.plan import Plan
from platform.tracking.tags import without_password

_ROOT = Path(__file__).resolve().parents[2]
_MOST_S = 600.0


def make_report(plan: Plan, tracking_uri: str | None) -> str:
    """Makes the report of a finished sweep and puts it into its record.

    Args:
        plan: the sweep.
        tracking_uri: of an MLflow server; by default `mlflow.db` in the storage folder.

    Returns:
        A line: where the report is, or why there is none. A sweep does not fail for it.
    """
    command = [sys.executable, "-m", "analysis.report", plan.name, "--publish"]
    command += ["--storage", str(plan.storage.resolve())]
    command += ["--tracking-uri", tracking_uri] if tracking_uri else []
    try:
        # from where the packages lie, installed or not
        done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=_MOST_S)
        said = done.stderr.strip().splitlines() if done.returncode else []
    except (OSError, subprocess.SubprocessError) as error:
        said = [str(error)]
    page = plan.folder / "analysis" / "report.html"
    if said or not page.is_file():
        why = without_password(said[-1].removeprefix("error: ")) if said else "it left no page"
        return f"No report was made: {why}"
    return f"The answer on one page: {page}"
