"""A sweep whose storage has an address: the driver's folder and the place, kept in step.

Trials bring their own files; the driver brings all else, and takes in what it needs of theirs.
Where the storage is a folder, nothing here does anything.
"""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from platform.storage.lease import BEAT_S, InUseError, Lease
from trainables.config.names import RESULT, SNAPSHOT
from trainables.utils.addresses import is_address, unreachable
from trainables.utils.files import consistent_copy
from trainables.utils.object_store import Mirror, working_copy
from trainables.utils.patience import patiently
from trainables.utils.remote_folder import stays
from trainables.utils.threads import every

if TYPE_CHECKING:
    from platform.plan.plan import Plan, PlannedTrial

# what is finished in between is known by the trials' own files, if this node is lost
_STEP_S = 10.0
_TRIALS = "trials"
_PLAN = "plan.json"
_RAYS = ("tune", "train")
# here and there: the session that drove the sweep last; where both are equal, what is here is newer
_SESSION = ".session"
_FILES = "/mlartifacts"
# where MLflow's tables say where those are
_LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
TAKEN_OVER = "another process has taken this sweep over"


def find(address: str) -> Path:
    """This node's folder for a storage behind an address, with the plans of its sweeps.

    Raises:
        StorageError: it cannot be used.
    """
    copy = working_copy(address)
    copy.remote.check()
    try:
        for name in copy.remote.folders():
            copy.pull(copy.local / name / _PLAN)
    except OSError as error:
        raise unreachable(address, error) from error
    return copy.local


def fetched(storage: str, name: str) -> Path:
    """The folder of sweeps that holds one; where it has an address, this node's, with that sweep.

    What its driver has is newer than what is there, so where that runs on this node nothing is
    brought.

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
    with contextlib.suppress(Timeout), driving(local, name):
        try:
            _take(copy, local / name)
        except OSError as error:
            raise unreachable(storage, error) from error
    return local


def driving(storage: Path, name: str) -> FileLock:
    """What the one process of this machine that drives a sweep holds; not waited for.

    Args:
        storage: of the sweep, here.
        name: its own.
    """
    return FileLock(storage / f".{name}.lock", timeout=0)


def _take(mirror: Mirror, folder: Path) -> None:
    """Brings a sweep here, but for what a lost driver of this node had not brought there.

    Raises:
        OSError: the place cannot be reached.
    """
    last = mirror.read(folder / _SESSION)
    try:
        newer = last is not None and (folder / _SESSION).read_bytes() == last
    except FileNotFoundError:
        newer = False
    mirror.pull(folder, lacking=newer)
    mirror.pull(folder / _TRIALS)


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


def follow_artifacts(storage: Path) -> None:
    """Tells a record that was brought to another machine where its files lie there.

    MLflow keeps that as an absolute address of each run, and has no command that changes it. The
    record of a plain folder is left alone: another sweep may be writing to it by another path.

    Args:
        storage: the folder of `mlflow.db` and `mlartifacts/`.
    """
    if Mirror.of(storage.parent) is None:
        return
    now = f"{storage.as_uri()}{_FILES}"
    with (
        contextlib.closing(sqlite3.connect(storage / "mlflow.db", timeout=60)) as database,
        database,
    ):
        told = database.execute("select distinct artifact_location from experiments").fetchall()
        moved = [at for (at,) in told if at and at.startswith("file:") and at.endswith(_FILES)]
        for before in (at for at in moved if at != now):
            for table, column in _LOCATIONS:
                database.execute(
                    f"update {table} set {column} = ? || substr({column}, ?) "
                    f"where substr({column}, 1, ?) = ?",
                    (now, len(before) + 1, len(before), before),
                )


class Copy:
    """Keeps a sweep's folder and its place in step.

    Args:
        plan: the sweep.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._mirror = Mirror.of(plan.storage)
        self._giving = threading.Lock()
        self._given: dict[Path, tuple[int, int]] = {}
        self._own: bytes | None = None
        self.taken_over = False

    def take(self) -> None:
        """Brings the whole sweep here.

        Raises:
            StorageError: the place cannot be reached.
        """
        if self._mirror is None:
            return
        try:
            _take(self._mirror, self._plan.folder)
        except OSError as error:
            raise unreachable(self._mirror.address, error) from error

    def begin(self) -> None:
        """Brings there what a sweep has before its first trial; from here on what comes is brought.

        Raises:
            StorageError: the place cannot be reached.
        """
        if self._mirror is None:
            return
        own = uuid.uuid4().hex.encode()
        try:
            self._give(self._mirror)
            self._mirror.write(self._plan.folder / _SESSION, own)
        except OSError as error:
            raise unreachable(self._mirror.address, error) from error
        (self._plan.folder / _SESSION).write_bytes(own)
        self._own = own

    def take_trial(self, folder: Path, *, waits: bool = True) -> None:
        """Brings a trial's files here, of this sweep or of another of the storage.

        Args:
            folder: the trial's.
            waits: for a place that does not answer.

        Raises:
            StorageError: the place cannot be reached.
            OSError: a fault of this machine, such as a full disk.
        """
        if self._mirror is not None:
            patiently(self._mirror, lambda mirror: mirror.pull(folder, exact=True), waits=waits)

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

    def forget_trainers(self) -> None:
        """What Ray Train kept there is read no more."""
        if self._mirror is not None:
            with contextlib.suppress(OSError):
                self._mirror.remove(self._plan.folder / "train")

    def step(self) -> None:
        """Brings the sweep's own files there; a fault is met again at the end."""
        if self._mirror is not None and self._own is not None:
            with contextlib.suppress(OSError):
                self._look(self._mirror)
                if not self.taken_over:
                    self._give(self._mirror)

    def _look(self, mirror: Mirror) -> None:
        """Finds whether another process has begun to drive the sweep, and ended since or not."""
        last = mirror.read(self._plan.folder / _SESSION)
        if self._own is not None and last not in (None, self._own):
            self.taken_over = True

    def give(self) -> str:
        """Brings all of the sweep there.

        Returns:
            A line: what failed; empty where nothing did.
        """
        if self._mirror is None:
            return ""
        here = f"{self._plan.folder}/ of {socket.gethostname()}"
        try:
            self._look(self._mirror)
            if self.taken_over:
                return f"{TAKEN_OVER}; what this one has is in {here}"
            self._given.clear()
            self._give(self._mirror)
            # what a trial left that was stopped: the others have brought theirs, and an older
            # attempt on this node may have left what is there by now in a newer form
            trials = self._plan.folder / _TRIALS
            self._mirror.push(trials, lacking=True, but=SNAPSHOT)
        except OSError as error:
            why = str(unreachable(self._mirror.address, error))
        except KeyboardInterrupt:
            why = f"interrupted while {self._mirror.address} was brought up to date"
        else:
            return ""
        return f"{why}; what it lacks is in {here}, and --resume brings it there"

    def _give(self, mirror: Mirror) -> None:
        """All but the trials' files, which they bring themselves."""
        with self._giving, contextlib.ExitStack() as stack:
            names = sorted(path.name for path in self._plan.folder.iterdir())
            own = [
                self._plan.folder / name
                for name in names
                if name not in (_TRIALS, *_RAYS) and not stays(name)
            ]
            changed = {path: seen for path in own if (seen := self._changed(path))}
            # before the other files: what a record names must not come later than the record
            copies = {path: stack.enter_context(consistent_copy(path)) for path in changed}
            # by its plan a sweep is known: whoever finds one finds all that it needs
            for path in sorted(own, key=lambda path: path.name == _PLAN):
                if path.name == _PLAN:
                    for database, copy in copies.items():
                        mirror.push_as(copy, database)
                if path.suffix != ".db":
                    mirror.push(path)
            self._given |= changed

    def _changed(self, path: Path) -> tuple[int, int] | None:
        """Time and size of a database that was written since it was brought; else None."""
        if path.suffix != ".db":
            return None
        seen = path.stat()
        stamp = (seen.st_mtime_ns, seen.st_size)
        return None if self._given.get(path) == stamp else stamp

    def drop(self) -> None:
        """Takes a new sweep away, of which nothing has run."""
        if self._mirror is not None:
            self._own = None
            with contextlib.suppress(OSError), self._giving:
                self._mirror.remove(self._plan.folder)

    @contextlib.contextmanager
    def held(self, *, new: bool = False) -> Iterator[None]:
        """Keeps drivers on other machines from this sweep for the time of the block.

        Meanwhile what `begin` began is brought there every few seconds.

        Args:
            new: the sweep must not be there yet.

        Raises:
            InUseError: one runs it, or there is one of its name.
            StorageError: the place cannot be reached.
        """
        if self._mirror is None:
            yield
            return
        lease = Lease(self._mirror, self._plan)
        try:
            lease.take()
            if new and self._mirror.read(self._plan.folder / _PLAN) is not None:
                lease.end()
                raise InUseError(f"--name {self._plan.name} is in use in {self._mirror.address}")
        except OSError as error:
            raise unreachable(self._mirror.address, error) from error

        def renew() -> None:
            with contextlib.suppress(OSError):
                self.taken_over = self.taken_over or not lease.renew()

        try:
            with every(BEAT_S, renew), every(_STEP_S, self.step):
                yield
        finally:
            with contextlib.suppress(OSError):
                lease.end()
