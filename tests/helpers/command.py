"""The command line of sweeps, called in this process, and what it may print where it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform.plan.build import make_plan
from platform.plan.serialization import write_plan
from platform.sweep import main
from search_spaces import STUDIES

Captured = pytest.CaptureFixture[str]
MOST_LINES = 4
SETTINGS = ("model=mae_tiny", "method=original,ours", "search.trials=1")


def called(capsys: Captured, *arguments: object) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a call."""
    capsys.readouterr()
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def refused(capsys: Captured, *arguments: object) -> list[str]:
    """The faults of a call that a user has to mend: a line each, at most four, no traceback."""
    status, out, err = called(capsys, *arguments)
    lines = err.splitlines()
    assert status == 2, err
    assert out == ""
    assert 1 <= len(lines) <= MOST_LINES
    assert all(line.startswith("error: ") for line in lines)
    assert "Traceback" not in err
    return [line.removeprefix("error: ") for line in lines]


def planned(capsys: Captured, *arguments: object) -> str:
    """The plan that a dry run prints."""
    status, out, err = called(capsys, *arguments, "--dry-run")
    assert (status, err) == (0, "")
    return out


def sweep(storage: Path, name: str = "first", *, settings: tuple[str, ...] = SETTINGS) -> Path:
    """A sweep that was planned and not run, in its folder."""
    plan = make_plan(STUDIES["quickstart"], name=name, storage=storage, overrides=settings)
    plan.folder.mkdir(parents=True)
    write_plan(plan)
    return plan.folder


def setting(*texts: str) -> list[str]:
    return [part for text in texts for part in ("--set", text)]
