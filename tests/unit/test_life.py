"""A trial's process that gives no sign of life is killed, and none that does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform.life import Watch, _Seen, signs_of_life
from tests.sweeps import ROOT

LIVES = """
import hashlib, sys, threading, time
from pathlib import Path
from platform.life import signs_of_life
with signs_of_life(Path(sys.argv[1])):
    print("alive", flush=True)
    while True:
        sum(range(1000))
"""
# what one that is alive may do for long without a step of its own program, and what it may not
WAITS = LIVES.replace("while True:\n        sum(range(1000))", "threading.Event().wait()")
CALCULATES = LIVES.replace(
    "while True:\n        sum(range(1000))",
    "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
)


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with started(LIVES, tmp_path) as process:
        yield process


@contextlib.contextmanager
def started(program: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", program, str(folder)]
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


@pytest.mark.parametrize(("program", "killed"), [(WAITS, True), (CALCULATES, False)])
def test_a_process_that_waits_for_ever_is_killed_and_one_that_calculates_is_not(
    tmp_path: Path, program: str, killed: bool
) -> None:
    with started(program, tmp_path) as process:
        watch = Watch(lost_after_s=6.0)
        watch._trials["a"] = _Seen(tmp_path)
        looks(watch, 14.0)
        assert (process.poll() == -signal.SIGKILL) == killed
        assert watch.remove("a") == killed


def test_one_that_waits_for_another_of_its_trial_is_left(tmp_path: Path) -> None:
    with started(LIVES, tmp_path) as process:
        for name in (".alive-1", ".works-1"):  # of one that waits, and is alive
            (tmp_path / name).write_text((tmp_path / ".alive-0").read_text())
        watch = Watch(lost_after_s=4.0)
        watch._trials["a"] = _Seen(tmp_path)
        until = time.monotonic() + 8.0
        while time.monotonic() < until:
            os.utime(tmp_path / ".alive-1")
            watch.look()
            time.sleep(0.1)
        assert process.poll() is None


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
        assert sorted(path.name for path in tmp_path.iterdir()) == [".alive-3", ".works-3"]
    assert list(tmp_path.iterdir()) == []
