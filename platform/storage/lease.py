"""Who drives a sweep: one process of a machine, and of all machines where it has an address."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from trainables.utils.errors import UserError

if TYPE_CHECKING:
    from platform.plan.plan import Plan
    from trainables.utils.object_store import Mirror

# how often a lease is renewed, and after how long without it others may take the sweep
BEAT_S, GONE_S = 20.0, 90.0


class InUseError(UserError):
    """Another process runs this sweep."""


def driver_lock(storage: Path, name: str) -> FileLock:
    """Returns the lock that the one driver of a sweep on this machine holds.

    Acquiring it does not wait: it raises `filelock.Timeout` where another process holds it.

    Args:
        storage: the folder of sweeps on this machine.
        name: the sweep's name.
    """
    return FileLock(storage / f".{name}.lock", timeout=0)


class Lease:
    """A small file at the storage's address that says who drives a sweep; its driver renews it.

    An object store has no locks: two drivers that begin within the same second are not kept apart
    until one of them renews.

    Args:
        mirror: the storage's folder on this node and its address.
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
            "processes": process_namespace(),
            "began": start_of_process(os.getpid()),
        }
        self._own = json.dumps(own).encode()

    def acquire(self) -> None:
        """Takes the lease.

        Raises:
            InUseError: another process holds it.
            OSError: the address cannot be reached.
        """
        before = self._mirror.read(self._path)
        if before and not self._is_left(before):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                other = json.loads(before)
                before = f"{other['pid']} of {other['host']}".encode()
            raise InUseError(
                f"sweep {self._name!r} is being run by another process ({before.decode()}): wait "
                f"for it, or take another --name; if it was killed, wait {GONE_S:.0f} s"
            )
        self._mirror.write(self._path, self._own)

    def _is_left(self, content: bytes) -> bool:
        """Reports whether the process that wrote a lease is gone."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            other = json.loads(content)
            # a process id tells nothing about the processes of another machine or container
            if other["processes"] and other["processes"] == process_namespace():
                return bool(other["began"] != start_of_process(int(other["pid"])))
        self._mirror.write(self._now, b"")
        age = self._mirror.age_s(self._path, self._now)
        self._mirror.remove(self._now)
        return age is None or age > GONE_S

    def renew(self) -> bool:
        """Renews the lease; returns False where another process holds it by now.

        Raises:
            OSError: the address cannot be reached.
        """
        if (now := self._mirror.read(self._path)) and now != self._own:
            return False
        self._mirror.write(self._path, self._own)
        return True

    def release(self) -> None:
        """Removes the lease, unless another process holds it.

        Raises:
            OSError: the address cannot be reached.
        """
        if self._mirror.read(self._path) == self._own:
            self._mirror.remove(self._path)


def process_namespace() -> str:
    """Returns a name of the machine's boot and of this process's namespace; empty if unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def start_of_process(pid: int) -> str:
    """Returns the clock ticks from boot to the start of a process; empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
