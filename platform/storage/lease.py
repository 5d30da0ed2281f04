"""Who drives a sweep whose storage has an address: one process, on whichever machine."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.utils.errors import UserError

if TYPE_CHECKING:
    from platform.plan.plan import Plan
    from trainables.utils.object_store import Mirror

# a lease is renewed so often, and left for others when it was not for so long
BEAT_S, GONE_S = 20.0, 90.0


class InUseError(UserError):
    """Another process runs this sweep."""


class Lease:
    """A small file there that says who drives a sweep, written anew while that goes on.

    An object store has no locks: two that begin within the same second are not kept apart until
    one of them renews.

    Args:
        mirror: of the storage.
        plan: the sweep.
    """

    def __init__(self, mirror: Mirror, plan: Plan) -> None:
        self._mirror, self._name = mirror, plan.name
        self._path = plan.storage / f".{plan.name}.driver"
        self._now = plan.storage / f".{plan.name}.{uuid.uuid4().hex[:8]}"
        own = {
            "driver": uuid.uuid4().hex,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "processes": processes(),
            "began": began(os.getpid()),
        }
        self._told = json.dumps(own).encode()

    def take(self) -> None:
        """Raises InUseError where another holds it."""
        before = self._mirror.read(self._path)
        if before and not self._is_left(before):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                other = json.loads(before)
                before = f"{other['pid']} of {other['host']}".encode()
            raise InUseError(
                f"sweep {self._name!r} is being run by another process ({before.decode()}): wait "
                f"for it, or take another --name; if it was killed, wait {GONE_S:.0f} s"
            )
        self._mirror.write(self._path, self._told)

    def _is_left(self, told: bytes) -> bool:
        """Whether who holds it is gone."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            other = json.loads(told)
            # a number names a process only among those that this one sees
            if other["processes"] and other["processes"] == processes():
                return bool(other["began"] != began(int(other["pid"])))
        self._mirror.write(self._now, b"")
        age = self._mirror.age_s(self._path, self._now)
        self._mirror.remove(self._now)
        return age is None or age > GONE_S

    def renew(self) -> bool:
        """It is held; False where another holds it by now."""
        if (now := self._mirror.read(self._path)) and now != self._told:
            return False
        self._mirror.write(self._path, self._told)
        return True

    def end(self) -> None:
        """It is free, unless another holds it."""
        if self._mirror.read(self._path) == self._told:
            self._mirror.remove(self._path)


def processes() -> str:
    """Names the machine's run and the group of processes that this one is of; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def began(pid: int) -> str:
    """When a process began, by a count of its machine's; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
