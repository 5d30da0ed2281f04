"""What a call asks of a trial and of the machine, looked at before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from platform.cli.request import Request, parse_sweep
from platform.cli.requested_plan import plan_request
from platform.plan.plan import Limits
from tests.helpers.command import Captured, planned, refused, setting, sweep
from tests.helpers.trees import plant

# --- What is asked of a trial ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["quikstart"], "unknown study 'quikstart' (close: quickstart); --list shows all"),
        (["zzz"], "unknown study 'zzz'; --list shows all"),
        (setting("forget_alhpa=1"), "unknown field 'forget_alhpa' (close: forget_alpha"),
        (setting("unlearn.steps=1.5"), "unlearn.steps='1.5' is not a whole number"),
        (setting("data.strict=maybe"), "data.strict='maybe' is not true or false"),
        (setting("method=our"), "method='our' is not one of original, "),
        (setting("unlearn.steps=0"), "unlearn.steps=0 is below 1"),
        (setting("forget_alpha"), "--set 'forget_alpha' is not key=value"),
        (setting("search.trials=-1"), "search.trials=-1 is below 0"),
        (
            setting("data.forget=astronut", "data.retain=coins"),
            "data.forget: unknown class 'astronut' (close: astronaut)",
        ),
        (["--workers", "0"], "--workers 0 is below 1"),
        (["--workers", "two"], "--workers 'two' is not a whole number"),
        (
            [
                *("--workers", "9999", "--set", "unlearn.forget_batch=9999"),
                *("--set", "unlearn.retain_batch=9999"),
            ],
            "a trial of 9999 workers takes ",
        ),
        (["--gpus-per-trial", "-1"], "--gpus-per-trial -1.0 is not a number of 0 or more"),
        (["--gpus-per-trial", "nan"], "--gpus-per-trial nan is not a number of 0 or more"),
        (["--gpus-per-trial", "half"], "--gpus-per-trial 'half' is not a number"),
        (["--gpus-per-trial", "1"], "a trial asks for 1 GPU(s) and this machine has 0: 1 too few"),
        (["--max-concurrent", "0"], "--max-concurrent 0 is below 1"),
        (
            ["--launcher", "nonsense"],
            "--launcher 'nonsense' is not one of auto, inline, train",
        ),
        (["--launcher", "inlin"], "one of auto, inline, train (close: inline"),
        (["--launcher", "inline", "--workers", "2"], "--launcher inline runs one worker"),
        (["--seed", "soon"], "--seed 'soon' is not a whole number"),
        (["--seed", str(2**32)], "--seed 4294967296 is outside [0, 2^32)"),
    ],
)
def test_a_fault_is_told_in_one_line(
    capsys: Captured,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    fault: str,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    (line,) = refused(capsys, *arguments, "--storage", tmp_path / "runs")
    assert fault in line
    assert list(tmp_path.iterdir()) == []


def test_faults_of_every_kind_are_found_together(capsys: Captured, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    arguments = ["--storage", tmp_path / "file", "--workers", 0, *setting("data.retain=coin")]
    lines = refused(capsys, "quikstart", *arguments)
    assert len(lines) == 3
    lines = refused(capsys, *arguments)
    assert len(lines) == 4
    assert any("unknown class 'coin' (close: coins" in line for line in lines)


def test_settings_of_an_unknown_study_are_looked_at(capsys: Captured, tmp_path: Path) -> None:
    sweep(tmp_path, "first")
    asked = ["quikstart", *setting("alpha=1", "unlearn.steps=many"), "--storage", tmp_path]
    for call in ([], ["--resume", "--name", "first"]):
        lines = refused(capsys, *asked, *call)
        assert [line.partition("'")[0] for line in lines] == [
            "unknown study ",
            "unknown field ",
            "unlearn.steps=",
        ]


def test_the_strict_flag_is_a_setting(capsys: Captured, tmp_path: Path) -> None:
    asked = [*setting("data.strict=false"), "--strict", "--storage", tmp_path]
    assert refused(capsys, *asked) == ["data.strict is set twice"]
    assert "33 trials" in planned(capsys, "--strict", "--storage", tmp_path)


def test_classes_of_a_folder_are_looked_up_in_it(capsys: Captured, tmp_path: Path) -> None:
    root = plant(tmp_path / "images", each=1)
    of_folder = setting("data.source=folder", f"data.root={root}", "data.forget=cats")
    (line,) = refused(capsys, *of_folder, *setting("data.retain=dog"), "--storage", tmp_path)
    assert line == "data.retain: unknown class 'dog' (close: dogs)"
    missing = setting("data.source=folder", f"data.root={root}s")
    (line,) = refused(capsys, *missing, "--storage", tmp_path)
    assert line == f"data.root={root}s: no such directory"


def test_a_sweep_that_the_disk_cannot_hold_is_refused(capsys: Captured, tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    (line,) = refused(capsys, "--storage", storage, *setting("search.trials=100000000"))
    assert line.startswith(f"--storage {storage} has ")
    assert " free and the sweep may take " in line
    assert line.endswith("GB: make room, or name another folder")
    assert not storage.exists()


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


# --- Options that would be ignored -----------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--list", "--name", "a", "--resume"],
            "--list does not read --name, --resume: leave one out",
        ),
        (["quickstart", "--fields"], "--fields does not read STUDY: leave one out"),
        (["--list", "--fields"], "--list does not read --fields: leave one out"),
        (["--sync", "a", "--dry-run"], "--sync does not read --dry-run: leave one out"),
        (
            ["--sync", "a", "--set", "forget_alpha=0.1", "--retry-failed"],
            "--sync does not read --set, --retry-failed: leave one out",
        ),
        (["--name", "a", "--name=b"], "--name is given twice"),
    ],
)
def test_an_option_without_an_effect_is_refused(arguments: list[str], told: str) -> None:
    assert parse_sweep(arguments)[1] == [told]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--list", "--debug"],
        ["--dry-run", "--trials", "3", "--no-report", "--tracking-uri", "http://a"],
        ["--sync", "a", "--name", "a", "--storage", "s", "--address", "auto", "--debug"],
        ["--set", "seed=1", "--set", "forget_alpha=0.1", "--resume", "--resume"],
    ],
)
def test_options_that_are_read_together_are_no_mistake(arguments: list[str]) -> None:
    assert parse_sweep(arguments)[1] == []
