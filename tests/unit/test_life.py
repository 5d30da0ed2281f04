"""A trial's process that gives no sign of life is killed, and none that does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform.life import Watch, signs_of_life
from tests.sweeps import ROOT

LIVES = """
import sys, time
from pathlib import Path
from platform.life import signs_of_life
with signs_of_life(Path(sys.argv[1])):
    print("alive", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", LIVES, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "alive\n"
        yield process
        process.kill()


def looks(watch: Watch, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        watch.look()
        time.sleep(0.1)


def test_what_an_earlier_attempt_left_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / ".alive-0").write_text("of a killed process")
    Watch().add("a", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_live_process_is_left_and_a_stopped_one_killed(
    alive: subprocess.Popen[str], tmp_path: Path
) -> None:
    written = (tmp_path / ".alive-0").read_text()
    watch = Watch(lost_after_s=5.0)
    watch.add("a", tmp_path)
    (tmp_path / ".alive-0").write_text(written)
    looks(watch, 7.0)
    assert alive.poll() is None
    os.kill(alive.pid, signal.SIGSTOP)
    looks(watch, 9.0)
    assert alive.wait(5) == -signal.SIGKILL
    assert watch.remove("a")


def test_a_watch_that_was_held_up_with_the_trials_gives_them_time(
    alive: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = (tmp_path / ".alive-0").read_text()
    watch = Watch(lost_after_s=5.0)
    watch.add("a", tmp_path)
    (tmp_path / ".alive-0").write_text(written)
    os.kill(alive.pid, signal.SIGSTOP)
    watch.look()
    later = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later)
    watch.look()
    monkeypatch.undo()
    assert alive.poll() is None
    assert not watch.remove("a")


def test_a_file_of_another_machine_kills_nobody(tmp_path: Path) -> None:
    watch = Watch(lost_after_s=0.0)
    watch.add("a", tmp_path)
    (tmp_path / ".alive-0").write_text(f'{{"pid": {os.getpid()}, "host": "elsewhere"}}')
    looks(watch, 0.5)
    (tmp_path / ".alive-0").write_text("half")
    looks(watch, 0.5)
    assert not watch.remove("a")


def test_signs_end_with_the_trial(tmp_path: Path) -> None:
    with signs_of_life(tmp_path, 3):
        assert [path.name for path in tmp_path.iterdir()] == [".alive-3"]
    assert list(tmp_path.iterdir()) == []
