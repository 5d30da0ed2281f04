"""Signs of life of trials: a process that stops giving them is killed, so that it can be replaced.

Ray sees a process that dies. One that is stopped, or stuck, holds its place for ever; here it is
found by two files of each process of a trial: one that is touched while the process runs at all,
and one while its trial gets on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_BEAT_S = 2.0
_LOOK_S = 2.0
# above what a loaded machine or one long call into a library holds a thread up
LOST_AFTER_S = 45.0
_ALIVE, _WORKS = ".alive-", ".works-"
# CPU time since the last sign that tells work from waiting: in 45 s an idle process of Ray's takes
# 0.1 s, and on a machine with thirty times the work that it can do one that works takes more
_WORK_S = 0.3


@contextlib.contextmanager
def signs_of_life(folder: Path, rank: int = 0) -> Iterator[None]:
    """Gives them for the time of the block, from a thread of its own.

    Args:
        folder: of the trial, which exists.
        rank: of this process among those that share the trial.
    """
    path, works = folder / f"{_ALIVE}{rank}", folder / f"{_WORKS}{rank}"
    over = threading.Event()
    work = _Work(threading.get_ident())

    def beat() -> None:
        while not over.wait(_BEAT_S):
            with contextlib.suppress(OSError):  # a full disk is another's to tell
                os.utime(path)
                if work.got_on():
                    os.utime(works)

    with contextlib.suppress(OSError):
        path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        works.touch()
    thread = threading.Thread(target=beat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        path.unlink(missing_ok=True)
        works.unlink(missing_ok=True)


class _Work:
    """Whether a thread gets on, seen from another one.

    It does where it is at another place of its program than before, or where the process, or one
    that it started, has spent CPU time, as in one long call into a library, in waiting for a GPU,
    or while a compiler runs.

    Args:
        thread: its identity.
    """

    def __init__(self, thread: int) -> None:
        self._thread = thread
        self._place: tuple[int, int] | None = None
        self._spent = 0.0

    def got_on(self) -> bool:
        """Since it was last found to."""
        frame = sys._current_frames().get(self._thread)
        place = None if frame is None else (id(frame), frame.f_lasti)
        spent = time.process_time() + _children_s()
        if place == self._place and abs(spent - self._spent) < _WORK_S:
            return False
        self._place, self._spent = place, spent
        return True


def _children_s() -> float:
    """CPU time of the processes that this one started and that run, seconds; 0 outside Linux."""
    spent = 0.0
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError, ValueError):  # they come and go
            for child in path.read_text().split():
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent


@dataclass
class _Seen:
    """When each file of a trial last changed, by this process's clock."""

    folder: Path
    changed: dict[Path, tuple[int, float]] = field(default_factory=dict)

    def silent_s(self, name: str, now: float, *, held_up: bool) -> dict[Path, float]:
        """How long each file whose name begins so has not changed, seconds.

        Args:
            name: of the files.
            now: by this process's clock.
            held_up: count from now, as if all had just changed.
        """
        found = {}
        for path in self.folder.glob(f"{name}*"):
            with contextlib.suppress(OSError):  # it has just ended
                stamp = path.stat().st_mtime_ns
                before, since = self.changed.get(path, (0, now))
                since = now if stamp != before or held_up else since
                self.changed[path] = (stamp, since)
                found[path] = now - since
        return found


class Watch:
    """Kills the processes of trials that have given no sign of life for `lost_after_s`.

    Args:
        lost_after_s: seconds.
    """

    def __init__(self, lost_after_s: float = LOST_AFTER_S) -> None:
        self.lost_after_s = lost_after_s
        self._trials: dict[str, _Seen] = {}
        self._killed: set[str] = set()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._looked = time.monotonic()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Looks for the time of the block, from a thread of its own."""
        thread = threading.Thread(target=self._run, name="watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def add(self, key: str, folder: Path) -> None:
        """A trial begins; what an earlier attempt left says nothing of this one."""
        for name in (_ALIVE, _WORKS):
            for path in folder.glob(f"{name}*"):
                path.unlink(missing_ok=True)
        with self._lock:
            self._trials[key] = _Seen(folder)
            self._killed.discard(key)

    def remove(self, key: str) -> bool:
        """A trial ended; whether a process of it was killed here."""
        with self._lock:
            self._trials.pop(key, None)
            return key in self._killed

    def look(self) -> None:
        """Looks once."""
        now = time.monotonic()
        # held up with the trials, as by Ctrl-Z, it gives them time to be seen again
        held_up = now - self._looked > self.lost_after_s / 2
        self._looked = now
        with self._lock:
            for key, seen in self._trials.items():
                alive = seen.silent_s(_ALIVE, now, held_up=held_up)
                # one that waits for others of its trial does nothing, and is not stuck
                working = seen.silent_s(_WORKS, now, held_up=held_up)
                stuck = bool(working) and min(working.values()) > self.lost_after_s
                for path, silent_s in alive.items():
                    if (stuck or silent_s > self.lost_after_s) and _kill(path):
                        self._killed.add(key)
                        path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._over.wait(_LOOK_S):
            self.look()


def _kill(path: Path) -> bool:
    """Kills the process that a file names, if it is of this machine; whether it was."""
    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError):  # it has just ended
        return False
    if told["host"] != socket.gethostname():
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(told["pid"]), signal.SIGKILL)
    return True
