"""What a session says first and last: what there is to run, and the commands that come next."""

from __future__ import annotations

import dataclasses
import io
import shlex
import sys
import time
from pathlib import Path

import pytest

from platform.cli.messages import (
    SUBMITTED_TO,
    commands,
    interpreter,
    interrupted,
    lost_files,
    not_reused,
    opening,
    record_lacks,
    resume_command,
    told_if_slow,
)
from platform.cli.request import Request
from platform.cli.requested_plan import SweepCall
from platform.plan.build import make_plan
from platform.plan.hardware import Machine
from platform.plan.plan import LaunchConfig, Plan
from search_spaces import STUDIES
from tests.helpers.recorded import plan_of

PAGE = "#/experiments/1"
SECRET = "http://ann:secret@host:5000"
COUNTS = {"finished": 2, "failed": 1, "pruned": 0}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """A plan of eight trials."""
    plan = plan_of(tmp_path)
    return dataclasses.replace(plan, launch=LaunchConfig(max_concurrent=1))


# --- First and last --------------------------------------------------------------------------


def test_a_session_begins_with_what_there_is_to_run(plan: Plan) -> None:
    none = dict.fromkeys(COUNTS, 0)
    first, second = opening(SweepCall(plan=plan), none, total=8, reused=0)
    assert first == f"Sweep quickstart: {plan.question}"
    assert second == f"8 trials, 1 at once, in {plan.storage}/quickstart/"


def test_a_session_that_goes_on_tells_what_was_done_before_and_by_whom(plan: Plan) -> None:
    _, line = opening(SweepCall(plan=plan), COUNTS, total=8, reused=2)
    assert line == (
        f"8 trials, 3 of them done before (2 by other sweeps of {plan.storage}; --no-reuse runs "
        f"them anew), 1 at once, in {plan.storage}/quickstart/"
    )


def test_a_cluster_is_named_where_the_trials_run_on_one(plan: Plan) -> None:
    machines = (Machine(cpus=4, gpus=0, memory=2**33),) * 2
    call = SweepCall(plan=plan, request=Request(address="auto"), machines=machines)
    _, line = opening(call, COUNTS, total=8, reused=0)
    assert ", 1 at once on 8 CPU(s), 0 GPU(s), 16.0 GiB memory on 2 nodes, in " in line


def test_what_takes_long_is_told_and_what_does_not_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.cli.messages._SLOW_S", 0.2)
    out = io.StringIO()
    with told_if_slow(out, "soon over"):
        pass
    with told_if_slow(out, "the ledger ..."):
        time.sleep(0.5)
    assert out.getvalue() == "the ledger ...\n"


def test_what_the_record_lacks_is_told_with_its_remedy(plan: Plan) -> None:
    call = SweepCall(plan=plan, request=Request(tracking_uri=SECRET))
    first, fault, _, command = record_lacks(call, {"files": 1, "status": 2}, "http://host", "no")
    assert first.startswith(
        "MLflow at http://host has not taken 3 events (files 1, status 2) of the record; "
    )
    assert fault == "Last fault: no."
    assert shlex.split(command)[1:5] == ["-m", "platform.sweep", "--sync", "quickstart"]
    assert "secret" not in command


def test_what_stopped_a_sweep_is_told_with_how_it_goes_on(plan: Plan) -> None:
    call = SweepCall(plan=plan, request=Request(address="10.0.0.1:6379"))
    first, command = interrupted(call, "", outstanding=3, total=8)
    assert first == "Interrupted: 3 of 8 trials outstanding. To go on:"
    assert command.strip() == resume_command(plan, None, "10.0.0.1:6379")
    first, _ = interrupted(call, "the disk is full", outstanding=1, total=1)
    assert first == "Stopped: the disk is full. 1 of 1 trial outstanding. To go on:"


# --- Commands --------------------------------------------------------------------------------


def test_the_commands_of_the_usual_storage_name_none(plan: Plan) -> None:
    usual = dataclasses.replace(plan, storage=Path("runs"))
    uri = f"sqlite:///{Path.cwd() / 'runs' / 'mlflow.db'}"
    lines = commands(usual, uri, PAGE)
    assert lines[0].startswith("Everything is in runs/quickstart/ ")
    parts = [shlex.split(line, comments=True) for line in lines[1:7]]
    names = ("report", "tables", "samples", "tsne", "ablation")
    for name, words in zip(names, parts[:5], strict=True):
        assert words == [*shlex.split(interpreter()), "-m", f"analysis.{name}", "quickstart"]
    assert parts[5][1:] == ["-m", "mlflow", "ui", "--backend-store-uri", "sqlite:///runs/mlflow.db"]
    assert lines[7].strip() == f"http://127.0.0.1:5000/{PAGE}"


def test_another_storage_is_quoted(plan: Plan) -> None:
    storage = Path("/data/my runs")
    elsewhere = dataclasses.replace(plan, storage=storage)
    lines = commands(elsewhere, f"sqlite:///{storage / 'mlflow.db'}", PAGE)
    parts = [shlex.split(line, comments=True) for line in lines[1:7]]
    assert all(words[-2:] == ["--storage", "/data/my runs"] for words in parts[:5])
    assert parts[5][-1] == "sqlite:////data/my runs/mlflow.db"
    assert shlex.split(resume_command(elsewhere, None))[1:] == [
        *("-m", "platform.sweep", "--name", "quickstart", "--resume"),
        *("--storage", "/data/my runs"),
    ]


@pytest.mark.parametrize("uri", ["http://host:5000", "https://host/mlflow/"])
def test_a_server_is_shown_by_its_address(plan: Plan, uri: str) -> None:
    lines = commands(plan, uri, PAGE)
    assert not [line for line in lines if "mlflow ui" in line]
    assert lines[-1].strip() == f"{uri.rstrip('/')}/{PAGE}"


def test_a_database_of_the_users_own_is_opened_by_its_address(plan: Plan) -> None:
    lines = commands(plan, "postgresql://***@host/lab", PAGE)
    (line,) = [line for line in lines if "mlflow ui" in line]
    assert shlex.split(line, comments=True)[-1] == "postgresql://***@host/lab"


def test_no_password_is_shown_in_the_command_to_go_on(plan: Plan) -> None:
    shown = resume_command(plan, SECRET)
    assert "secret" not in shown
    assert "ann" not in shown
    assert "--tracking-uri" in shlex.split(shown)


def test_the_interpreter_is_named_as_a_user_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert interpreter() == "python"
    monkeypatch.setenv("PATH", "")
    monkeypatch.chdir(Path(sys.executable).parent)
    assert interpreter() in (sys.executable, Path(sys.executable).name)
    monkeypatch.chdir(tmp_path)
    assert interpreter() == sys.executable


def test_a_sweep_on_a_cluster_goes_on_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(STUDIES["quickstart"], name="a", storage=tmp_path)
    words = shlex.split(resume_command(plan, None, "10.0.0.1:6379"))
    assert words[1:] == [
        *("-m", "platform.sweep", "--name", "a", "--resume", "--address", "10.0.0.1:6379"),
        *("--storage", str(tmp_path)),
    ]
    monkeypatch.setenv(SUBMITTED_TO, "http://head:8265")
    words = shlex.split(resume_command(plan, None, "auto"))
    assert words == [
        *("python", "-m", "platform.submit", "--name", "a", "--resume"),
        *("--address", "http://head:8265", "--storage", str(tmp_path)),
    ]
    assert "platform.sweep" in resume_command(plan, None)


def test_files_that_are_gone_are_told_of_with_the_option_that_makes_them_anew() -> None:
    lost = {"ours": ["its folder is gone"], "ours-s1": [f"{n} is gone" for n in "abcd"]}
    assert lost_files(lost, repaired=False) == [
        "Files are gone or altered of 2 finished trials: ours (its folder is gone), ours-s1 "
        "(a is gone, b is gone, c is gone, ...); their figures stay, --repair runs them again."
    ]
    (told,) = lost_files({"ours": ["a is altered"]}, repaired=True)
    assert told.endswith("files are gone or altered, 1 finished trial: ours (a is altered).")
    many = {f"ours-s{number}": ["its folder is gone"] for number in range(9)}
    (told,) = not_reused(many)
    assert told.startswith("Not taken over, as files are gone or altered: ours-s0 (")
    assert told.endswith("ours-s3 (its folder is gone) and 5 more.")
    assert lost_files({}, repaired=False) == lost_files({}, repaired=True) == not_reused({}) == []
