"""A sweep whose MLflow server dies goes on, and its record is whole in the end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.mlflow_server import Server, serving
from tests.helpers.sweeps import ROOT, run, sweep, times
from tests.reliability import whole

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = ("method=original,ours", "search.trials=2")
TRIALS = 7


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "server") as server:
        yield server


def struck(server: Server, storage: Path, back_after_s: float | None) -> tuple[int, str]:
    """A sweep whose server is killed at its first finished trial; its status and output."""
    options = ["--name", "a", "--tracking-uri", server.uri]
    command = sweep(storage, *SETTINGS, options=options)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("[1/"):
                break
        server.stop(signal.SIGKILL)
        if back_after_s is not None:
            time.sleep(back_after_s)
            server.start()
        rest, _ = process.communicate()
    return process.returncode, "".join(lines) + rest


def missing(server: Server, storage: Path) -> list[str]:
    """What the sweep's folder holds and the record lacks; runs doubled, or not FINISHED."""
    return whole.faults(storage, "a", server.folder / "mlflow.db")


def test_a_server_that_comes_back_gets_all_of_the_record(server: Server, tmp_path: Path) -> None:
    status, out = struck(server, tmp_path / "runs", back_after_s=5.0)
    assert status == 0, out
    assert len(times(tmp_path / "runs" / "a")) == TRIALS
    assert missing(server, tmp_path / "runs") == []


def test_what_a_dead_server_missed_is_recorded_by_sync(server: Server, tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    status, out = struck(server, storage, back_after_s=None)
    assert status == 0, out
    assert len(times(storage / "a")) == TRIALS
    command = out.splitlines()[-1].strip()
    assert "--sync a" in command
    base = [sys.executable, "-m", "platform.sweep"]
    options = command.partition("platform.sweep ")[2].split()
    refused = run([*base, *options])
    assert refused.status == 2
    assert "is the server running" in refused.err
    server.start()
    ended = run([*base, *options])
    assert ended.status == 0, ended
    assert missing(server, storage) == []
    assert "0 trials added" in run([*base, *options]).out
