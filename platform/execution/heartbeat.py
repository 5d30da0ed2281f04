"""Gives signs of life of a trial's processes; one that gives none is killed, to be replaced.

Ray sees a process that dies. One that is stopped, or stuck in waiting, would hold its CPUs and GPUs
for ever: `watchdog`, a small process beside each of a trial's own, kills it. Being its child, the
watchdog is on the same machine and sure of whom it kills, on whichever node of a cluster that is.
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
from trainables.utils.waiting import is_waiting

_BEAT_S = 2.0
# above what a loaded machine or one long call into a library holds a thread up
LOST_AFTER_S = 45.0
# three fit into `LOST_AFTER_S`, so that two may fail before a sign is too late
_EXCHANGE_S = 10.0
# Files in a trial's folder, with the rank of a process at their end: which process it is, when it
# last got on, and that it was killed.
_ALIVE, _WORKS, _SILENT = ".alive-", ".works-", ".silent-"
# CPU time since the last sign that tells work from waiting: in 45 s an idle process of Ray's takes
# 0.1 s, and one that works takes more on a machine with thirty times the work that it can do
_WORK_S = 0.3
# bytes read and written that tell the same of a slow disk; one that waits takes tens of kilobytes
_WORK_BYTES = 2**20
# by calls, and by pages of files that are mapped
_MOVED = ("rchar", "wchar", "read_bytes", "write_bytes")


@contextlib.contextmanager
def signs_of_life(
    folder: Path, rank: int = 0, lost_after_s: float = LOST_AFTER_S
) -> Iterator[None]:
    """Gives signs of life from a thread during the block, as long as the trial gets on.

    Args:
        folder: of the trial; it must exist.
        rank: of this process among those that share the trial.
        lost_after_s: seconds without a sign after which this process is killed.
    """
    alive = folder / f"{_ALIVE}{rank}"
    process = {"pid": os.getpid(), "host": socket.gethostname()}
    trial = _TrialActivity(folder, rank, threading.get_ident())
    command = [sys.executable, "-I", "-S", str(Path(watchdog.__file__)), str(os.getpid())]
    silent = str(folder.absolute() / f"{_SILENT}{rank}")
    with subprocess.Popen([*command, str(lost_after_s), silent], stdin=subprocess.PIPE) as watcher:
        assert watcher.stdin is not None
        signs = watcher.stdin.fileno()

        def beat() -> None:
            # without a watchdog, Ray still sees a process that dies
            with contextlib.suppress(BrokenPipeError):
                if trial.got_on():
                    os.write(signs, b".")

        with contextlib.suppress(OSError):  # the trial itself tells of a full disk
            alive.write_text(json.dumps(process))
        try:
            with every(_BEAT_S, beat):
                yield
        finally:
            with contextlib.suppress(OSError):
                alive.unlink(missing_ok=True)
                trial.sign.unlink(missing_ok=True)


@contextlib.contextmanager
def signs_from_afar(folder: Path, rank: int, size: int, mirror: Mirror | None) -> Iterator[None]:
    """Exchanges the signs of a trial's processes during the block, where they share no folder.

    Args:
        folder: of the trial on this node.
        rank: of this process among those that share the trial.
        size: how many processes share the trial.
        mirror: copies to and from the storage's address; None where they share the folder.
    """
    if mirror is None or size == 1:
        yield
        return
    exchange = _SignExchange(folder, rank, size, mirror)

    def turn() -> None:
        with contextlib.suppress(OSError):  # the address may answer the next time
            exchange.turn()

    try:
        with every(_EXCHANGE_S, turn):
            yield
    finally:
        with contextlib.suppress(OSError):
            exchange.close()


class _SignExchange:
    """Exchanges the signs that processes of a trial get on, by files behind the storage's address.

    Args:
        folder, rank, size, mirror: as `signs_from_afar`.
    """

    def __init__(self, folder: Path, rank: int, size: int, mirror: Mirror) -> None:
        self._own = folder / f"{_WORKS}{rank}"
        self._others = [folder / f"{_WORKS}{other}" for other in range(size) if other != rank]
        self._seen: dict[Path, bytes | None] = {}
        self._mirror = mirror
        self._rank = rank

    def turn(self) -> None:
        """Sends this process's last sign, and marks on this node each new one of the others."""
        with contextlib.suppress(FileNotFoundError):  # it has not begun
            self._mirror.write(self._own, str(self._own.stat().st_mtime_ns).encode())
        for other in self._others:
            sign = self._mirror.read(other)
            if sign is not None and sign != self._seen.get(other):
                # not the other's own file: it may run on this node too, and send that file itself
                self._mark(other).touch()
            self._seen[other] = sign

    def close(self) -> None:
        """Removes what this process has left."""
        for other in self._others:
            self._mark(other).unlink(missing_ok=True)
        self._mirror.remove(self._own)

    def _mark(self, other: Path) -> Path:
        return other.with_name(f"{other.name}-told-to-{self._rank}")


def fell_silent(folder: Path) -> bool:
    """Reports whether a process of the last attempt was killed, as it gave no sign of life."""
    return any(folder.glob(f"{_SILENT}*"))


def forget_silence(folder: Path) -> None:
    """Removes what an earlier attempt has left on this node of its silent processes."""
    for each in folder.glob(f"{_SILENT}*"):
        each.unlink(missing_ok=True)


class _TrialActivity:
    """Finds whether any process of a trial gets on: one that waits for the others is not stuck.

    Args:
        folder: of the trial, which its processes share.
        rank: of this process.
        thread: the identity of this process's thread that runs the trial.

    Attributes:
        sign: the file by whose time the others know that this process gets on.
    """

    def __init__(self, folder: Path, rank: int, thread: int) -> None:
        self._folder, self._thread = folder, thread
        self.sign = folder / f"{_WORKS}{rank}"
        self._seen: dict[Path, int] = {}
        self._position: tuple[int, int] | None = None
        self._spent, self._moved = 0.0, 0

    def got_on(self) -> bool:
        """Reports whether any has, since one last did."""
        found = self._thread_got_on()
        with contextlib.suppress(OSError):  # the trial itself tells of a full disk
            if found:
                self.sign.touch()
            seen = {
                path: path.stat().st_mtime_ns
                for path in self._folder.glob(f"{_WORKS}*")
                if path != self.sign
            }
            found, self._seen = found or seen != self._seen, seen
        return found

    def _thread_got_on(self) -> bool:
        """Reports whether this process's thread has, since it last did.

        It has where it is at another place of its program than before, or in a wait that ends by
        itself; or where the process has read or written, or it or one that it started has spent CPU
        time, as in one long call into a library, in waiting for a GPU, or while a compiler runs.
        """
        frame = sys._current_frames().get(self._thread)
        position = None if frame is None else (id(frame), frame.f_lasti)
        spent, moved = time.process_time() + _children_s(), _bytes_moved()
        if (
            position == self._position
            and abs(spent - self._spent) < _WORK_S
            and moved - self._moved < _WORK_BYTES
            and not is_waiting(self._thread)
        ):
            return False
        self._position, self._spent, self._moved = position, spent, moved
        return True


def _children_s() -> float:
    """Returns the CPU time of running child processes, in seconds; 0 outside Linux."""
    spent = 0.0
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError, ValueError):  # they come and go
            for child in path.read_text().split():
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
                spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent


def _bytes_moved() -> int:
    """Returns how much this process has read and written, in bytes; 0 outside Linux."""
    try:
        counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return sum(int(counts[name]) for name in _MOVED)
    except (OSError, ValueError, KeyError):
        return 0
