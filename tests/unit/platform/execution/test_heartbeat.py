"""A trial's process that gives no sign of life is killed, and none that does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from platform.execution import watchdog
from platform.execution.heartbeat import _TrialActivity, fell_silent, signs_of_life
from tests.helpers.sweeps import ROOT, descendants
from trainables.utils.cache import folder_of
from trainables.utils.object_store import Mirror
from trainables.utils.waiting import held, patiently

LIVES = """
import hashlib, sys, threading
from pathlib import Path
from platform.execution.heartbeat import signs_of_life
with signs_of_life(Path(sys.argv[1]), lost_after_s=5.0):
    print("alive", flush=True)
    while True:
        sum(range(1000))
"""
# what one that is alive may do for long without a step of its own program, and what it may not
CALCULATES = LIVES.replace(
    "while True:\n        sum(range(1000))",
    "hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
)
BUILDS = LIVES.replace(
    "while True:\n        sum(range(1000))",
    "build_once(Path(sys.argv[1]) / 'cache', 'work', {}, lambda folder: None)",
).replace("import hashlib", "from trainables.utils.cache import build_once\nimport hashlib")
WAITS = LIVES.replace("while True:\n        sum(range(1000))", "threading.Event().wait()")


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


def watches(pid: int) -> list[int]:
    """The processes that watch one, among all that it has started."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
    named = {int(row[0]) for row in rows if "watchdog.py" in row[-1]}
    return [process for process in descendants(pid) if process in named]


def gone(pid: int, within_s: float) -> bool:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_live_process_is_left_and_a_stopped_one_killed(
    alive: subprocess.Popen[str], tmp_path: Path
) -> None:
    time.sleep(8.0)
    assert alive.poll() is None
    assert not fell_silent(tmp_path)
    os.kill(alive.pid, signal.SIGSTOP)
    assert alive.wait(60) == -signal.SIGKILL
    assert fell_silent(tmp_path)


def test_one_that_waits_for_ever_is_killed(tmp_path: Path) -> None:
    with started(WAITS, tmp_path) as process:
        assert process.wait(60) == -signal.SIGKILL
        assert fell_silent(tmp_path)


def test_one_that_calculates_for_long_is_left(tmp_path: Path) -> None:
    with started(CALCULATES, tmp_path) as process:
        time.sleep(12.0)
        assert process.poll() is None


def test_one_that_waits_for_another_of_its_trial_is_left(tmp_path: Path) -> None:
    with started(WAITS, tmp_path) as process:
        until = time.monotonic() + 12.0
        while time.monotonic() < until:
            (tmp_path / ".works-1").touch()
            time.sleep(0.5)
        assert process.poll() is None


def test_one_that_waits_for_what_another_builds_is_left(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "cache", "work", {})
    folder.parent.mkdir()
    with contextlib.ExitStack() as holding:
        holding.enter_context(held(folder.with_name(f"{folder.name}.lock")))
        with started(BUILDS, tmp_path) as process:
            time.sleep(12.0)
            assert process.poll() is None
            holding.close()
            assert process.wait(30) == 0
    assert folder.is_dir()


def test_one_that_is_stopped_with_its_watch_is_left(alive: subprocess.Popen[str]) -> None:
    (watch,) = watches(alive.pid)
    for process in (alive.pid, watch):
        os.kill(process, signal.SIGSTOP)
    time.sleep(8.0)
    for process in (watch, alive.pid):
        os.kill(process, signal.SIGCONT)
    time.sleep(3.0)
    assert alive.poll() is None


def test_the_watch_ends_with_its_process_and_kills_nobody(alive: subprocess.Popen[str]) -> None:
    (watch,) = watches(alive.pid)
    alive.kill()
    alive.wait(10)
    assert gone(watch, 10.0)


def test_a_watch_kills_its_own_parent_alone(tmp_path: Path) -> None:
    """Whoever has the number of a process that is gone is not it."""
    reading, writing = os.pipe()
    another = os.getpid()
    assert os.getppid() != another
    watchdog.watch(another, 1.0, str(tmp_path / "silent"), reading)
    assert not (tmp_path / "silent").exists()
    os.close(writing)
    os.close(reading)


def test_signs_end_with_the_trial(tmp_path: Path) -> None:
    with signs_of_life(tmp_path, 3):
        assert (tmp_path / ".alive-3").exists()
        (watch,) = watches(os.getpid())
    assert list(tmp_path.iterdir()) == []
    assert gone(watch, 10.0)


def test_a_full_disk_saves_no_silent_process(tmp_path: Path) -> None:
    nowhere = tmp_path / "absent"
    program = f"""
import os, subprocess, sys, time
from platform.execution import watchdog
watch = [sys.executable, "-I", "-S", watchdog.__file__, str(os.getpid()), "1.0", {str(nowhere)!r}]
with subprocess.Popen([*watch[:-1], watch[-1] + "/silent"], stdin=subprocess.PIPE):
    time.sleep(120)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, timeout=100)
    assert done.returncode == -signal.SIGKILL


# --- What counts as getting on, without a process of its own ------------------------------------


@contextlib.contextmanager
def at_work(folder: Path, work: Callable[[], object]) -> Iterator[_TrialActivity]:
    """The activity of a thread that is in some work by now, as of a trial's; the work must end."""
    thread = threading.Thread(target=work)
    thread.start()
    assert thread.ident is not None
    activity = _TrialActivity(folder, 0, thread.ident)
    time.sleep(0.2)
    activity.got_on()
    yield activity
    thread.join(30)
    assert not thread.is_alive()


def signs(activity: _TrialActivity, times: int = 8) -> int:
    """How often one got on, of some looks; a look at polling may meet it at another place."""
    found = 0
    for _ in range(times):
        time.sleep(0.05)
        found += activity.got_on()
    return found


def test_one_that_waits_for_nothing_known_does_not_get_on(tmp_path: Path) -> None:
    over = threading.Event()
    with at_work(tmp_path, lambda: over.wait(30)) as activity:
        assert signs(activity) == 0
        over.set()


def test_one_that_waits_for_the_lock_of_a_live_process_gets_on(tmp_path: Path) -> None:
    def work() -> None:
        with held(tmp_path / "lock"):
            pass

    with contextlib.ExitStack() as stack:
        stack.enter_context(held(tmp_path / "lock"))
        with at_work(tmp_path, work) as activity:
            assert signs(activity) == 8
            stack.close()


def test_one_that_waits_for_an_address_gets_on(tmp_path: Path) -> None:
    over = threading.Event()
    mirror = Mirror(tmp_path / "here", (tmp_path / "there").as_uri())
    with at_work(tmp_path, lambda: patiently(mirror, lambda _: over.wait(30))) as activity:
        assert signs(activity) == 8
        over.set()


def test_one_that_reads_slowly_gets_on(tmp_path: Path) -> None:
    reading, writing = os.pipe()

    def work() -> None:
        while os.read(reading, 2**20):
            pass

    with at_work(tmp_path, work) as activity:
        found = 0
        for _ in range(20):
            os.write(writing, bytes(2**16))
            found += signs(activity, 1)
        os.close(writing)
    os.close(reading)
    assert found > 0
