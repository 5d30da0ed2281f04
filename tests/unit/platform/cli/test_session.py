"""A session of a sweep: where its time goes, and its report."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from platform.cli.session import Phases, make_report
from platform.plan.build import make_plan
from search_spaces import STUDIES


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_phases_add_up_to_the_whole() -> None:
    clock = Clock()
    phases = Phases("to start", clock)
    for seconds, label in ((14, "of shared work"), (20, "of trials")):
        clock.now += seconds
        phases.begin(label)
    clock.now += 436
    assert phases.describe() == (
        "7 min 50 s: 14 s to start, 20 s of shared work, 7 min 16 s of trials"
    )


@pytest.mark.parametrize(
    ("code", "errors", "page", "line"),
    [
        (0, "", True, "The answer on one page: {folder}/analysis/report.html"),
        (0, "", False, "No report was made: it left no page"),
        (2, "x\nerror: no such sweep\n", True, "No report was made: no such sweep"),
        (2, "error: at http://a:secret@h\n", False, "No report was made: at http://***@h"),
    ],
)
def test_a_report_is_a_line_and_never_a_fault(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    errors: str,
    page: bool,
    line: str,
) -> None:
    plan = make_plan(STUDIES["quickstart"], name="a", storage=tmp_path)
    asked: list[list[str]] = []

    def made(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        if page:
            (plan.folder / "analysis").mkdir(parents=True)
            (plan.folder / "analysis" / "report.html").touch()
        return subprocess.CompletedProcess(command, code, "", errors)

    monkeypatch.setattr(subprocess, "run", made)
    assert make_report(plan, "http://host:5000") == line.format(folder=plan.folder)
    assert asked[0][1:] == [
        *("-m", "analysis.report", "a", "--publish", "--storage", str(tmp_path)),
        *("--tracking-uri", "http://host:5000"),
    ]


def test_a_report_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", slow)
    plan = make_plan(STUDIES["quickstart"], name="a", storage=tmp_path)
    assert make_report(plan, None).endswith(" timed out after 600.0 seconds")
