"""Signs of life of trials: a process that stops giving them is killed, so that it can be replaced.

Ray sees a process that dies. One that is stopped, or stuck where no thread of it runs, holds its
place for ever; here it is found by a file that each process of a trial touches.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_BEAT_S = 2.0
_LOOK_S = 2.0
# above what a loaded machine or one long call into a library holds a thread up
LOST_AFTER_S = 45.0
_NAME = ".alive-"


@contextlib.contextmanager
def signs_of_life(folder: Path, rank: int = 0) -> Iterator[None]:
    """Gives them for the time of the block, from a thread of its own.

    Args:
        folder: of the trial, which exists.
        rank: of this process among those that share the trial.
    """
    path = folder / f"{_NAME}{rank}"
    over = threading.Event()

    def beat() -> None:
        while not over.wait(_BEAT_S):
            with contextlib.suppress(OSError):  # a full disk is another's to tell
                os.utime(path)

    with contextlib.suppress(OSError):
        path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    thread = threading.Thread(target=beat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        path.unlink(missing_ok=True)


@dataclass
class _Seen:
    """When each file of a trial last changed, by this process's clock."""

    folder: Path
    changed: dict[Path, tuple[int, float]] = field(default_factory=dict)


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
        for path in folder.glob(f"{_NAME}*"):
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
                for path in seen.folder.glob(f"{_NAME}*"):
                    with contextlib.suppress(OSError, ValueError):  # it has just ended
                        stamp = path.stat().st_mtime_ns
                        before, since = seen.changed.get(path, (0, now))
                        since = now if stamp != before or held_up else since
                        seen.changed[path] = (stamp, since)
                        if now - since > self.lost_after_s and _kill(path):
                            self._killed.add(key)
                            del seen.changed[path]
                            path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._over.wait(_LOOK_S):
            self.look()


def _kill(path: Path) -> bool:
    """Kills the process that a file names, if it is of this machine; whether it was."""
    told = json.loads(path.read_text())
    if told["host"] != socket.gethostname():
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(told["pid"]), signal.SIGKILL)
    return True
