"""How far a session may go: what the options say, and what they refuse."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from platform.cli.request import Request
from platform.cli.requested_plan import plan_request
from platform.plan.limits import Limits, seconds
from tests.helpers.command import Captured, refused, sweep


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("90", 90), ("90s", 90), ("45m", 2700), ("2h", 7200), ("1h30m", 5400), ("1.5h", 5400)],
)
def test_a_span_of_time(text: str, wanted: float) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("text", ["", "0", "h", "-5m", "5 m", "2d", "1m2h", "nan"])
def test_no_span_of_time(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        seconds(text)


def test_the_limits_of_a_call(tmp_path: Path) -> None:
    given = Request(storage=str(tmp_path), max_failures="0", time_budget="2h", trials="3")
    assert plan_request(given, []).limits == Limits(max_failures=0, time_budget_s=7200.0, trials=3)
    usual = Request(storage=str(tmp_path))
    assert plan_request(usual, []).limits == Limits(max_failures=2, time_budget_s=None, trials=None)


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        ("--max-failures", "-1", "--max-failures -1 is below 0"),
        ("--max-failures", "x", "--max-failures 'x' is not a whole number"),
        ("--trials", "0", "--trials 0 is below 1"),
        ("--time-budget", "soon", "--time-budget 'soon' is not a time such as 90m or 2h30m"),
    ],
)
def test_limits_that_are_none_are_refused(
    capsys: Captured, tmp_path: Path, option: str, value: str, told: str
) -> None:
    assert refused(capsys, f"{option}={value}", "--storage", tmp_path) == [told]


def test_retrying_and_syncing_go_on_with_a_sweep_that_is_there(
    capsys: Captured, tmp_path: Path
) -> None:
    (line,) = refused(capsys, "--sync", "first", "--storage", tmp_path)
    assert line.startswith("--sync: no sweep 'first'")
    (line,) = refused(capsys, "--retry-failed", "--name", "first", "--storage", tmp_path)
    assert line.startswith("--resume: no sweep 'first'")
    sweep(tmp_path, "first")
    (line,) = refused(capsys, "--sync", "first", "--name", "b", "--storage", tmp_path)
    assert line == "--sync first and --name b name two sweeps"
    for options in ({"retry_failed": True, "name": "first"}, {"sync": "first"}):
        call = plan_request(Request(storage=str(tmp_path), **options), [])
        assert (call.request.resume, call.plan.name) == (True, "first")
