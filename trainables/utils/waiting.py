"""Waits that end by themselves: for a lock whose holder lives, and for the answer of an address.

Whoever watches a process asks `is_waiting`, so as not to take such a wait for a hang.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock, Timeout

from trainables.utils.addresses import unreachable
from trainables.utils.errors import UserError
from trainables.utils.threads import every

if TYPE_CHECKING:
    from trainables.utils.object_store import Mirror

T = TypeVar("T")

_SIGN_S = 5.0
# twice what kills a process that is watched, so that its lock is free before others give it up
_GONE_S = 90.0
_PATIENCE_S, _PAUSE_S = 120.0, 5.0
# by the identity of a thread that waits: until when
_until: dict[int, float] = {}


class HeldError(UserError):
    """A lock is held by a process that gives no sign of life."""


@contextlib.contextmanager
def waiting(most_s: float = math.inf) -> Iterator[None]:
    """Says that this thread waits during the block, and that the wait ends by itself.

    Args:
        most_s: seconds after which it counts as stuck all the same.
    """
    thread = threading.get_ident()
    before = _until.get(thread, -math.inf)
    _until[thread] = max(before, time.monotonic() + most_s)
    try:
        yield
    finally:
        _until[thread] = before


def is_waiting(thread: int) -> bool:
    """Reports whether a thread, by its identity, is in a wait that ends by itself."""
    return time.monotonic() < _until.get(thread, -math.inf)


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds a lock during the block, once whoever has it releases it.

    The kernel releases the lock of a process that dies. One that is stopped keeps it: each holder
    therefore renews the time of the file, and those who wait give up one that does not.

    Args:
        path: of the lock's file.

    Raises:
        HeldError: the holder has given no sign of life for 90 s.
    """
    lock = FileLock(path)
    with waiting():
        _acquire(lock, path)

    def sign() -> None:
        with contextlib.suppress(OSError):
            os.utime(path)

    try:
        with every(_SIGN_S, sign):
            yield
    finally:
        lock.release()


def _acquire(lock: FileLock, path: Path) -> None:
    last, silent_s = 0, 0.0
    # turns are counted, not the clock: held up with the holder, as by Ctrl-Z, this misses none
    while silent_s <= _GONE_S:
        try:
            lock.acquire(timeout=_SIGN_S)
        except Timeout:
            with contextlib.suppress(FileNotFoundError):  # removed, and another is made now
                sign = path.stat().st_mtime_ns
                silent_s = silent_s + _SIGN_S if sign == last else 0.0
                last = sign
        else:
            return
    raise HeldError(
        f"{path} is locked by a process that has given no sign of life for {_GONE_S:.0f} s: end "
        "it, `fuser` names it, and run this again"
    )


@waiting()  # the clients of object stores give up what makes no progress
def patiently(mirror: Mirror, work: Callable[[Mirror], T], *, waits: bool = True) -> T:
    """Does some work; where the address does not answer, tries again for two minutes.

    Args:
        mirror: of the address.
        work: is given the mirror.
        waits: tries again; else the work is tried once.

    Raises:
        StorageError: the address has not answered.
        OSError: a fault of this machine, such as a full disk.
    """
    until = time.monotonic() + (_PATIENCE_S if waits else -math.inf)
    while True:
        try:
            return work(mirror)
        except OSError as error:
            if mirror.is_local(error):
                raise
            if time.monotonic() > until:
                raise unreachable(mirror.address, error) from error
        time.sleep(_PAUSE_S)
