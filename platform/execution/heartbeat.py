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

from platform.execution import watchdog
from trainables.utils.object_store import Mirror
from trainables.utils.threads import every

_BEAT_S = 2.0
# above what a loaded machine or one long call into a library holds a thread up
LOST_AFTER_S = 45.0
# two of them may be missed before a sign is too late
_EXCHANGE_S = 10.0
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
    trial = _Trial(folder, rank, _Work(threading.get_ident()))
    command = [sys.executable, "-I", "-S", str(Path(watchdog.__file__)), str(os.getpid())]
    silent = str(folder.absolute() / f"{_SILENT}{rank}")
    with subprocess.Popen([*command, str(lost_after_s), silent], stdin=subprocess.PIPE) as watching:
        assert watching.stdin is not None
        signs = watching.stdin.fileno()

        def beat() -> None:
            with contextlib.suppress(BrokenPipeError):  # without a watch Ray's is left
                if trial.got_on():
                    os.write(signs, b".")

        with contextlib.suppress(OSError):  # a full disk is another's to tell
            alive.write_text(json.dumps(told))
        try:
            with every(_BEAT_S, beat):
                yield
        finally:
            with contextlib.suppress(OSError):
                alive.unlink(missing_ok=True)
                trial.works.unlink(missing_ok=True)


@contextlib.contextmanager
def signs_from_afar(folder: Path, rank: int, size: int, copy: Mirror | None) -> Iterator[None]:
    """Brings the signs of a trial's processes to each other where they share no folder.

    Args:
        folder: of the trial on this node.
        rank: of this process among those that share the trial.
        size: how many they are.
        copy: of the storage; None where they share the folder.
    """
    if copy is None or size == 1:
        yield
        return
    exchange = _Exchange(folder, rank, size, copy)

    def turn() -> None:
        with contextlib.suppress(OSError):  # the place may be back the next time
            exchange.turn()

    try:
        with every(_EXCHANGE_S, turn):
            yield
    finally:
        with contextlib.suppress(OSError):
            exchange.close()


class _Exchange:
    """Of the signs that a process gets on, between the processes of a trial.

    Args:
        folder, rank, size, copy: as `signs_from_afar`.
    """

    def __init__(self, folder: Path, rank: int, size: int, copy: Mirror) -> None:
        self._own = folder / f"{_WORKS}{rank}"
        self._others = [folder / f"{_WORKS}{other}" for other in range(size) if other != rank]
        self._seen: dict[Path, bytes | None] = {}
        self._copy = copy
        self._rank = rank

    def turn(self) -> None:
        """Tells the others of this one's last sign, and leaves a mark here for each of theirs."""
        with contextlib.suppress(FileNotFoundError):  # it has not begun
            self._copy.write(self._own, str(self._own.stat().st_mtime_ns).encode())
        for other in self._others:
            told = self._copy.read(other)
            if told is not None and told != self._seen.get(other):
                # not its own file, which it may have here, on this node, and tell of in its turn
                self._mark(other).touch()
            self._seen[other] = told

    def close(self) -> None:
        """Takes what is this process's away."""
        for other in self._others:
            self._mark(other).unlink(missing_ok=True)
        self._copy.remove(self._own)

    def _mark(self, other: Path) -> Path:
        return other.with_name(f"{other.name}-told-to-{self._rank}")


def fell_silent(folder: Path) -> bool:
    """Whether a process of a trial's last attempt was killed because it gave no sign of life."""
    return any(folder.glob(f"{_SILENT}*"))


def forget_silence(folder: Path) -> None:
    """What an attempt at a trial left on this node says nothing of the next."""
    for each in folder.glob(f"{_SILENT}*"):
        each.unlink(missing_ok=True)


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
