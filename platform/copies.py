"""A sweep whose storage has an address: the driver's folder and the place, kept in step.

Trials bring their own files; the driver brings all else, and takes in what it needs of theirs.
Where the storage is a folder, nothing here does anything.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import UserError
from trainables.mirror import Mirror, is_address, unreachable, working_copy
from trainables.sections.names import RESULT, SNAPSHOT

if TYPE_CHECKING:
    from platform.plan import Plan, PlannedTrial

# what is finished in between is known by the trials' own files, if this node is lost
_STEP_S = 10.0
_BEAT_S, _GONE_S = 20.0, 90.0
_TRIALS = "trials"


class InUseError(UserError):
    """Another process runs this sweep."""


def find(address: str) -> Path:
    """This node's folder for a storage behind an address, with the plans of its sweeps.

    Raises:
        StorageError: it cannot be used.
    """
    copy = working_copy(address)
    copy.check()
    try:
        for name in copy.folders():
            copy.pull(copy.local / name / "plan.json")
    except OSError as error:
        raise unreachable(address, error) from error
    return copy.local


def fetched(storage: str, name: str) -> Path:
    """The folder of sweeps that holds one; where it has an address, this node's, with that sweep.

    Args:
        storage: a path or an address.
        name: the sweep's.

    Raises:
        StorageError: it cannot be used.
    """
    if not is_address(storage):
        return Path(storage)
    local = find(storage)
    copy = working_copy(storage)
    try:
        copy.pull(local / name)
    except OSError as error:
        raise unreachable(storage, error) from error
    return local


def give(folder: Path) -> None:
    """Brings a folder of a sweep to its storage's address, where that has one.

    Raises:
        StorageError: it cannot be reached.
    """
    for above in folder.absolute().parents:
        copy = Mirror.of(above)
        if copy is not None:
            try:
                copy.push(folder)
            except OSError as error:
                raise unreachable(copy.address, error) from error


def storage_address(plan: Plan) -> str:
    """Of a plan's storage; empty where it is a folder."""
    mirror = Mirror.of(plan.storage)
    return "" if mirror is None else mirror.address


def place(plan: Plan) -> str:
    """A plan's storage: its address where it has one, else its path."""
    return storage_address(plan) or str(plan.storage)


def record_folder(folder: Path) -> Path:
    """Where a sweep's record in MLflow lies by default: `mlflow.db`, `mlartifacts/`.

    Sweeps of a storage share one. Where the storage has an address they may run on machines that
    know nothing of each other, so there each has its own.

    Args:
        folder: the sweep's.
    """
    storage = folder.parent
    return (storage if Mirror.of(storage) is None else folder).resolve()


class Copy:
    """Keeps a sweep's folder and its place in step.

    Args:
        plan: the sweep.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._mirror = Mirror.of(plan.storage)
        self._stepped = time.monotonic()

    def take(self) -> None:
        """Brings the whole sweep here.

        Raises:
            StorageError: the place cannot be reached.
        """
        if self._mirror is None:
            return
        try:
            self._mirror.pull(self._plan.folder)
        except OSError as error:
            raise unreachable(self._mirror.address, error) from error

    def begin(self) -> None:
        """Brings there what a sweep has before its first trial.

        Raises:
            StorageError: the place cannot be reached.
        """
        if self._mirror is None:
            return
        try:
            self._give(self._mirror)
        except OSError as error:
            raise unreachable(self._mirror.address, error) from error

    def take_trial(self, folder: Path) -> None:
        """Brings a trial's files here, of this sweep or of another of the storage.

        Raises:
            OSError: the place cannot be reached.
        """
        if self._mirror is not None:
            self._mirror.pull(folder, exact=True)

    def take_entries(self) -> None:
        """Brings what is known of the storage's finished trials here."""
        if self._mirror is not None:
            with contextlib.suppress(OSError):  # without, they are run again
                self._mirror.pull(self._plan.cache / "trials")

    def give_entry(self, path: Path) -> None:
        """Brings what is known of one finished trial there."""
        if self._mirror is not None:
            with contextlib.suppress(OSError):
                self._mirror.push(path)

    def give_trial(self, folder: Path) -> None:
        """Brings a trial's files there, which came from another sweep."""
        if self._mirror is not None:
            self._mirror.push(folder, last=RESULT, exact=True)

    def forget_snapshot(self, trial: PlannedTrial) -> None:
        """Nothing goes on from it."""
        if self._mirror is not None:
            with contextlib.suppress(OSError):
                self._mirror.remove(self._plan.trial_folder(trial) / SNAPSHOT)

    def step(self) -> None:
        """Brings the sweep's own files there, now and then; a fault is met again at the end."""
        if self._mirror is not None and time.monotonic() - self._stepped > _STEP_S:
            with contextlib.suppress(OSError):
                self._give(self._mirror)
            self._stepped = time.monotonic()

    def give(self) -> str:
        """Brings all of the sweep there.

        Returns:
            A line: what failed; empty where nothing did.
        """
        if self._mirror is None:
            return ""
        try:
            self._give(self._mirror)
            self._mirror.push(self._plan.folder)
        except OSError as error:
            return (
                f"{unreachable(self._mirror.address, error)}; what it lacks is in "
                f"{self._plan.folder}/ of {socket.gethostname()}, and --resume brings it there"
            )
        return ""

    def _give(self, mirror: Mirror) -> None:
        """All but the trials' files, which they bring themselves."""
        # by its plan a sweep is known: whoever finds one finds all that it needs
        for path in sorted(self._plan.folder.iterdir(), key=lambda path: path.name == "plan.json"):
            if path.name not in (_TRIALS, "tune", "train") and not path.name.startswith("."):
                mirror.push(path)

    def drop(self) -> None:
        """Takes a new sweep away, of which nothing has run."""
        if self._mirror is not None:
            with contextlib.suppress(OSError):
                self._mirror.remove(self._plan.folder)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps drivers on other machines from this sweep for the time of the block.

        Raises:
            InUseError: one runs it.
            StorageError: the place cannot be reached.
        """
        if self._mirror is None:
            yield
            return
        lease = _Lease(self._mirror, self._plan)
        try:
            lease.take()
        except OSError as error:
            raise unreachable(self._mirror.address, error) from error
        over = threading.Event()

        def beat() -> None:
            while not over.wait(_BEAT_S):
                with contextlib.suppress(OSError):
                    lease.renew()

        thread = threading.Thread(target=beat, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            with contextlib.suppress(OSError):
                lease.end()


class _Lease:
    """A small file there that says who drives a sweep, written anew while that goes on.

    An object store has no locks: two that begin within the same second are not kept apart.

    Args:
        mirror: of the storage.
        plan: the sweep.
    """

    def __init__(self, mirror: Mirror, plan: Plan) -> None:
        self._mirror, self._name = mirror, plan.name
        self._path = plan.storage / f".{plan.name}.driver"
        self._now = plan.storage / f".{plan.name}.{uuid.uuid4().hex[:8]}"
        own = {"host": socket.gethostname(), "pid": os.getpid()}
        self._told = json.dumps(own).encode()

    def take(self) -> None:
        """Raises InUseError where another holds it."""
        before = self._mirror.read(self._path)
        if before is not None and not self._is_left(before):
            raise InUseError(
                f"sweep {self._name!r} is being run by another process ({before.decode()}): wait "
                f"for it, or take another --name; if it was killed, wait {_GONE_S:.0f} s"
            )
        self.renew()

    def _is_left(self, told: bytes) -> bool:
        """Whether who holds it is gone."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            other = json.loads(told)
            if other["host"] == socket.gethostname():
                return not _lives(int(other["pid"]))
        self._mirror.write(self._now, b"")
        age = self._mirror.age_s(self._path, self._now)
        self._mirror.remove(self._now)
        return age is None or age > _GONE_S

    def renew(self) -> None:
        """It is held."""
        self._mirror.write(self._path, self._told)

    def end(self) -> None:
        """It is free."""
        self._mirror.remove(self._path)


def _lives(pid: int) -> bool:
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
