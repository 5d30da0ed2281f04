"""Signs of life of trials: a process that stops giving them is killed, so that it can be replaced.

Ray sees a process that dies. One that is stopped, or stuck in waiting, holds its place for ever;
here a small process beside each of a trial's own kills it then. Being its child, it is on the same
machine and sure of whom it kills, on whichever node of a cluster that is.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from platform import warden

_BEAT_S = 2.0
# above what a loaded machine or one long call into a library holds a thread up
LOST_AFTER_S = 45.0
_ALIVE, _WORKS, _SILENT = ".alive-", ".works-", ".silent-"
# CPU time since the last sign that tells work from waiting: in 45 s an idle process of Ray's takes
# 0.1 s, and on a machine with thirty times the work that it can do one that works takes more
_WORK_S = 0.3


@contextlib.contextmanager
def signs_of_life(
    folder: Path, rank: int = 0, lost_after_s: float = LOST_AFTER_S
) -> Iterator[None]:
    """Gives them for the time of the block, from a thread of its own, while its trial gets on.

    Args:
        folder: of the trial, which exists.
        rank: of this process among those that share the trial.
        lost_after_s: seconds without a sign after which this process is killed.
    """
    alive = folder / f"{_ALIVE}{rank}"
    told = {"pid": os.getpid(), "host": socket.gethostname()}
    over = threading.Event()
    trial = _Trial(folder, rank, _Work(threading.get_ident()))
    command = [sys.executable, "-I", "-S", str(Path(warden.__file__)), str(os.getpid())]
    silent = str(folder.absolute() / f"{_SILENT}{rank}")
    with subprocess.Popen([*command, str(lost_after_s), silent], stdin=subprocess.PIPE) as watching:
        assert watching.stdin is not None
        signs = watching.stdin.fileno()

        def beat() -> None:
            while not over.wait(_BEAT_S):
                with contextlib.suppress(BrokenPipeError):  # without a watch Ray's is left
                    if trial.got_on():
                        os.write(signs, b".")

        with contextlib.suppress(OSError):  # a full disk is another's to tell
            alive.write_text(json.dumps(told))
        thread = threading.Thread(target=beat, name="signs of life", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            with contextlib.suppress(OSError):
                alive.unlink(missing_ok=True)
                trial.works.unlink(missing_ok=True)


def fell_silent(folder: Path) -> bool:
    """Whether a process of a trial's last attempt was killed because it gave no sign of life."""
    return any(folder.glob(f"{_SILENT}*"))


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


class _Trial:
    """Whether any process of a trial gets on: one that waits for the others is not stuck.

    Args:
        folder: of the trial, which its processes share.
        rank: of this process.
        work: of its thread.
    """

    def __init__(self, folder: Path, rank: int, work: _Work) -> None:
        self._folder, self._work = folder, work
        self.works = folder / f"{_WORKS}{rank}"
        self._seen: dict[Path, int] = {}

    def got_on(self) -> bool:
        """Since it was last found to."""
        found = self._work.got_on()
        with contextlib.suppress(OSError):  # a full disk is another's to tell
            if found:
                self.works.touch()
            seen = {
                path: path.stat().st_mtime_ns
                for path in self._folder.glob(f"{_WORKS}*")
                if path != self.works
            }
            found, self._seen = found or seen != self._seen, seen
        return found


def _children_s() -> float:
    """CPU time of the processes that this one started and that run, seconds; 0 outside Linux."""
    spent = 0.0
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError, ValueError):  # they come and go
            for child in path.read_text().split():
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent
