"""What is sent to a cluster, what is told of it, and whose exit status is returned."""

from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from platform.cli import job
from platform.execution import cluster
from platform.execution.cluster import ClusterError
from platform.storage.environment import git_state
from trainables.utils.errors import ConfigError

AT = ("--address", "http://head:8265", "--storage", "/shared/runs")
STUDY = """
from search_spaces import Study
from search_spaces.quickstart import STUDY as BASE
STUDY = BASE
"""


class Info:
    def __init__(self, status: str, code: int | None = None) -> None:
        self.status, self.driver_exit_code, self.message = Status(status), code, "out of memory"


class Status(str):
    def is_terminal(self) -> bool:
        return self in ("SUCCEEDED", "FAILED", "STOPPED")


class Client:
    """A cluster that runs nothing: what it was given, and what it says next."""

    def __init__(self, *says: Any) -> None:
        self.says = list(says)
        self.log = ""
        self.given: dict[str, Any] = {}
        self.held: set[str] = set()

    def get_address(self) -> str:
        return "http://head:8265"

    def submit_job(self, **given: Any) -> str:
        self.given = given
        folder = Path(given["runtime_env"]["working_dir"])
        self.held = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        return "job_1"

    def get_job_info(self, job: str) -> Info:
        said = self.says.pop(0)
        if isinstance(said, BaseException):
            raise said
        text, info = said
        self.log += text
        return info

    def get_job_logs(self, job: str) -> str:
        return self.log


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_LOOK_S", 0.0)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)


def submitted(
    monkeypatch: pytest.MonkeyPatch, client: Client, *arguments: str
) -> tuple[int, str, Client]:
    monkeypatch.setattr(job, "_client", lambda address: client)
    stream = io.StringIO()
    status = job.submit(job.read([*AT, *arguments]), stream)
    return status, stream.getvalue(), client


def faults(*arguments: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        job.read(arguments)
    return caught.value.problems


# --- What is sent ----------------------------------------------------------------------------


def test_the_packages_are_sent_and_nothing_beside_them() -> None:
    with cluster.packed() as folder:
        top = {path.name for path in folder.iterdir()}
        held = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
        told = json.loads((folder / "commit.json").read_text())
    assert top == {
        *("platform", "trainables", "search_spaces", "analysis", "commit.json"),
        *("_platform_bridge.py", "_platform_bridge.pth", "pyproject.toml", "requirements.lock"),
    }
    assert not [name for name in held if "__pycache__" in name or "/." in name]
    assert {"platform/sweep.py", "trainables/data/photos.py"} <= held
    assert any(name.endswith(".safetensors") for name in held)
    assert told == git_state()
    assert not folder.exists()


def test_what_lies_in_a_checkout_is_left_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("platform", "trainables", "search_spaces", "analysis"):
        (tmp_path / name / "__pycache__").mkdir(parents=True)
        (tmp_path / name / "__pycache__" / "a.pyc").touch()
        (tmp_path / name / "a.py").touch()
        (tmp_path / name / ".a.py.swp").touch()
    for name in ("runs", ".git", "data", ".venv", "mlruns", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "secret").touch()
    (tmp_path / ".env").touch()
    monkeypatch.setattr(cluster, "ROOT", tmp_path)
    with cluster.packed() as folder:
        held = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    packages = ("platform", "trainables", "search_spaces", "analysis")
    assert held == {"commit.json", *(f"{name}/a.py" for name in packages)}


def test_what_is_sent_runs_without_being_installed(tmp_path: Path) -> None:
    """In an environment that has the dependencies alone, so without the bridge of an install."""
    with cluster.packed() as folder:
        program = [sys.executable, "-S", "-c", f"import sys; sys.path += {sys.path!r}; "]
        program[-1] += "import runpy; sys.argv = ['sweep', '--list']; sys.path.insert(0, '.'); "
        program[-1] += "runpy.run_module('platform.sweep', run_name='__main__')"
        done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "quickstart" in done.stdout
        found = (
            "from platform.storage.environment import git_state; print(git_state()['git_commit'])"
        )
        done = subprocess.run(
            [sys.executable, "-c", found], cwd=folder, capture_output=True, text=True, check=True
        )
    assert done.stdout.strip() == str(git_state()["git_commit"])


def test_a_study_of_the_users_own_goes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = tmp_path / "my study.py"
    mine.write_text(STUDY)
    _, _, client = submitted(monkeypatch, Client(), str(mine), "--detach")
    assert "my study.py" in client.held
    assert shlex.split(client.given["entrypoint"])[6:7] == ["my study.py"]
    assert "/shared/runs" in client.given["entrypoint"]


def test_no_secret_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a-token-of-32-characters-and-more")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hush")
    _, out, client = submitted(monkeypatch, Client(), "--detach")
    for shown in (out, repr(client.given)):
        assert "a-token-of" not in shown
        assert "hush" not in shown


# --- What is told ----------------------------------------------------------------------------


def test_the_job_is_the_command_and_ends_as_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    says = (("one\n", Info("RUNNING")), ("two\n", Info("RUNNING")), ("", Info("FAILED", 1)))
    status, out, client = submitted(monkeypatch, Client(*says), "--set", "forget_alpha=0.1,0.5")
    assert status == 1
    assert out.endswith("\none\ntwo\n")
    assert client.given["entrypoint"] == (
        "exec python -m platform.sweep --storage /shared/runs --set forget_alpha=0.1,0.5 "
        "--address auto"
    )
    assert client.given["runtime_env"]["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] == "60"


@pytest.mark.parametrize(
    ("info", "status", "told"),
    [
        (Info("SUCCEEDED", 0), 0, ""),
        (Info("FAILED", 2), 2, ""),
        (Info("FAILED", 130), 130, ""),
        (Info("FAILED"), 1, "Job job_1 failed: out of memory"),
        (Info("STOPPED"), 130, "Job job_1 was stopped."),
    ],
)
def test_exit_status(monkeypatch: pytest.MonkeyPatch, info: Info, status: int, told: str) -> None:
    ended, out, _ = submitted(monkeypatch, Client(("", info)))
    assert ended == status
    assert out.splitlines()[-1] == told


def test_how_to_watch_stop_and_resume_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, _ = submitted(monkeypatch, Client(), "--name", "wide", "--detach")
    assert status == 0
    first, watch, stop, resume = out.strip().splitlines()
    assert first == "Job job_1 is submitted to http://head:8265."
    assert watch.split(maxsplit=2)[2] == "ray job logs --follow --address http://head:8265 job_1"
    assert stop.split(maxsplit=2)[2] == "ray job stop --address http://head:8265 job_1"
    again = shlex.split(resume.split(maxsplit=2)[2])
    assert again[1:] == [
        *("-m", "platform.submit", "--resume", "--name", "wide", "--storage", "/shared/runs"),
        *("--address", "http://head:8265"),
    ]
    assert job.read(again[3:]).request.resume


def test_ctrl_c_leaves_the_job_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(("one\n", Info("RUNNING")), KeyboardInterrupt())
    status, out, client = submitted(monkeypatch, client)
    assert status == 130
    tail = out.splitlines()[-3:]
    assert tail[0] == "Job job_1 goes on, and is no longer followed."
    assert "ray job logs" in tail[1]
    assert "ray job stop" in tail[2]
    assert not hasattr(client, "stop_job")


def test_a_cluster_that_is_away_for_a_moment_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    says = (("one\n", Info("RUNNING")), ConnectionError("gone"), ("two\n", Info("SUCCEEDED", 0)))
    status, out, _ = submitted(monkeypatch, Client(*says))
    assert status == 0
    assert out.endswith("\none\ntwo\n")


def test_a_cluster_that_stays_away_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_PATIENCE_S", -1.0)
    with pytest.raises(ClusterError, match="no cluster answers there"):
        submitted(monkeypatch, Client(ConnectionError("gone")))


# --- What is refused -------------------------------------------------------------------------


def test_what_can_be_found_here_is_refused_together() -> None:
    found = faults("--address", "10.0.0.1:6379", "--stroage", "/x", "--set")
    assert any("--address 10.0.0.1:6379 is not the cluster's dashboard" in line for line in found)
    assert any("unknown option --stroage" in line for line in found)
    assert "--set needs a value" in found
    assert any(line.startswith("--storage names a folder") for line in found)


@pytest.mark.parametrize("storage", [[], ["--storage", "runs"], ["--storage=runs"]])
def test_a_storage_that_is_lost_with_the_job_is_refused(storage: list[str]) -> None:
    (line,) = faults("--address", "http://head:8265", *storage)
    assert line.startswith("--storage names a folder that every node has by the same path")


def test_a_password_is_not_put_where_all_see_it() -> None:
    (line,) = faults(*AT, "--tracking-uri", "http://me:hush@mlflow:5000")
    assert line.startswith("--tracking-uri holds a password")
    assert "hush" not in line
    (line,) = faults("--address", "http://head:8265", "--storage", "s3://me:hu/sh@runs/x")
    assert "holds a secret" in line
    assert "sh@" not in line


def test_an_option_without_a_value_is_named() -> None:
    assert "--address needs a value" in faults("--address", "--storage", "/x")
    assert "--python needs a value" in faults(*AT, "--python")


def test_the_address_is_that_of_rays_own_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "https://ray.example")
    assert job.read(AT[2:]).address == "https://ray.example"
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS")
    assert job.read(AT[2:]).address == "http://127.0.0.1:8265"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--python=",), "--python needs a value"),
        (("--address=",), "--address needs a value"),
        (("--python", "a", "--python", "b"), "--python is given twice"),
        (("--name", "a", "--name", "b"), "--name is given twice"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(arguments: tuple[str, ...], told: str) -> None:
    assert faults("--storage", "/shared/runs", *arguments) == [told]


def test_what_needs_no_cluster_is_not_sent_to_one() -> None:
    told = "--list and --fields need no cluster: python -m platform.sweep shows both"
    assert faults("--list") == faults("--fields", "--debug") == [told]
