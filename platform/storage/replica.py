"""The driver's side of a storage behind an address: its node's folder and the address, kept alike.

Trials push their own files; the driver pushes all else, and pulls what it needs of theirs. Where
the storage is a plain folder, nothing in this module does anything.
"""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from platform.storage.address import PLAN, SESSION, TRIALS, pull_sweep, reaching
from platform.storage.lease import BEAT_S, InUseError, Lease
from trainables.config.names import RESULT, SNAPSHOT
from trainables.utils.addresses import unreachable
from trainables.utils.files import consistent_copy, write_text
from trainables.utils.local_files import Stamp, stamp, stays
from trainables.utils.object_store import Mirror
from trainables.utils.threads import every
from trainables.utils.waiting import patiently

if TYPE_CHECKING:
    from platform.plan.plan import Plan, PlannedTrial

# what is finished in between is known by the trials' own files, if this node is lost
_PUSH_EVERY_S = 10.0
# a database goes whole, however little of it changed: so much of it a second, on average
_DATABASE_RATE = 2**18
_RAY_FOLDERS = ("tune", "train")
TAKEN_OVER = "another process has taken this sweep over"


class Replica:
    """Keeps a sweep's folder on the driver's node and the one at its storage's address alike.

    Args:
        plan: the sweep.

    Attributes:
        taken_over: another process drives the sweep by now; nothing is pushed any more.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._mirror = Mirror.of(plan.storage)
        self._pushing = threading.Lock()
        self._pushed: dict[Path, Stamp] = {}
        self._database_pushed_s: dict[Path, float] = {}
        self._session: bytes | None = None
        self.taken_over = False

    def pull(self) -> None:
        """Pulls the whole sweep into this node's folder.

        Raises:
            StorageError: the address cannot be reached.
        """
        if self._mirror is not None:
            with reaching(self._mirror):
                pull_sweep(self._mirror, self._plan.folder)

    def begin(self) -> None:
        """Pushes what a sweep has before its first trial, and marks this session as its driver.

        From here on `push_changes` pushes what is written.

        Raises:
            StorageError: the address cannot be reached.
        """
        if self._mirror is None:
            return
        session = uuid.uuid4().hex
        with reaching(self._mirror):
            self._push_own_files(self._mirror)
            self._mirror.write(self._plan.folder / SESSION, session.encode())
        write_text(self._plan.folder / SESSION, session)
        self._session = session.encode()

    def pull_trial(self, folder: Path, *, waits: bool = True) -> None:
        """Pulls a trial's files, of this sweep or of another one in the storage.

        Args:
            folder: the trial's folder on this node.
            waits: tries again while the address does not answer.

        Raises:
            StorageError: the address cannot be reached.
            OSError: a fault of this machine, such as a full disk.
        """
        if self._mirror is not None:
            patiently(self._mirror, lambda mirror: mirror.pull(folder, exact=True), waits=waits)

    def push_trial(self, folder: Path) -> None:
        """Pushes the files of a trial that were copied from another sweep.

        Raises:
            OSError: the address cannot be reached.
        """
        if self._mirror is not None:
            self._mirror.push(folder, last=RESULT, exact=True)

    def pull_entries(self) -> None:
        """Pulls what is known of the storage's finished trials; without it they are run again."""
        self._attempt(lambda mirror: mirror.pull(self._plan.cache / "trials"))

    def push_entry(self, path: Path) -> None:
        """Pushes what is known of one finished trial."""
        self._attempt(lambda mirror: mirror.push(path))

    def remove_file(self, trial: PlannedTrial, name: str) -> None:
        """Removes a file of a trial from the address alone, where it can be reached."""
        path = self._plan.trial_folder(trial) / name
        self._attempt(lambda mirror: mirror.remove(path))

    def remove_trainers(self) -> None:
        """Removes from the address what Ray Train kept there: nothing reads it any more."""
        self._attempt(lambda mirror: mirror.remove(self._plan.folder / "train"))

    def remove(self) -> None:
        """Removes a new sweep, of which nothing has run, from the address."""
        self._session = None
        with self._pushing:
            self._attempt(lambda mirror: mirror.remove(self._plan.folder))

    def push_changes(self) -> None:
        """Pushes the sweep's own files; what fails is tried again at the next call."""
        if self._session is not None:
            self._attempt(self._push_changes)

    def push(self) -> str:
        """Pushes all of the sweep, at the end of a session.

        Returns:
            A line on what failed; empty where nothing did.
        """
        if self._mirror is None:
            return ""
        local = f"{self._plan.folder}/ of {socket.gethostname()}"
        try:
            if self._finds_taken_over(self._mirror):
                return f"{TAKEN_OVER}; what this one has is in {local}"
            self._push_own_files(self._mirror)
            # Files of a trial that was stopped: the others have pushed theirs, and what the address
            # has may be newer than what an earlier attempt left on this node.
            self._mirror.push(self._plan.folder / TRIALS, lacking=True, but=SNAPSHOT)
        except OSError as error:
            is_local = self._mirror.is_local(error)
            why = str(error if is_local else unreachable(self._mirror.address, error))
        except KeyboardInterrupt:
            why = f"interrupted while {self._mirror.address} was brought up to date"
        else:
            return ""
        there = self._mirror.address
        return f"{why}; what {there} lacks is in {local}, and --resume brings it there"

    @contextlib.contextmanager
    def held(self, *, new: bool = False) -> Iterator[None]:
        """Keeps drivers on other machines from this sweep for the time of the block.

        Once the sweep has begun, its changes are pushed every few seconds.

        Args:
            new: refuses a sweep that the address has already.

        Raises:
            InUseError: another process runs the sweep, or there is one of its name.
            StorageError: the address cannot be reached.
        """
        if self._mirror is None:
            yield
            return
        lease = Lease(self._mirror, self._plan)
        with reaching(self._mirror):
            lease.acquire()
            if new and self._mirror.read(self._plan.folder / PLAN) is not None:
                lease.release()
                raise InUseError(f"--name {self._plan.name} is in use in {self._mirror.address}")

        def renew() -> None:
            with contextlib.suppress(OSError):
                self.taken_over = self.taken_over or not lease.renew()

        try:
            with every(BEAT_S, renew), every(_PUSH_EVERY_S, self.push_changes):
                yield
        finally:
            with contextlib.suppress(OSError):
                lease.release()

    def _attempt(self, work: Callable[[Mirror], object]) -> None:
        """Does something with the address, where there is one, that a sweep can do without."""
        if self._mirror is not None:
            with contextlib.suppress(OSError):
                work(self._mirror)

    def _push_changes(self, mirror: Mirror) -> None:
        if not self._finds_taken_over(mirror):
            self._push_own_files(mirror, again=True)

    def _finds_taken_over(self, mirror: Mirror) -> bool:
        """Finds whether another process has begun to drive the sweep, whether or not it ended."""
        last = mirror.read(self._plan.folder / SESSION)
        if self._session is not None and last not in (None, self._session):
            self.taken_over = True
        return self.taken_over

    def _push_own_files(self, mirror: Mirror, *, again: bool = False) -> None:
        """Pushes all but the trials' files, which trials push themselves.

        Args:
            mirror: of the storage.
            again: only what has changed since this session pushed it, a database only if it is due.
        """
        with self._pushing, contextlib.ExitStack() as stack:
            own = [
                path
                for path in sorted(self._plan.folder.iterdir())
                if path.name not in (TRIALS, *_RAY_FOLDERS) and not stays(path.name)
            ]
            databases = [path for path in own if path.suffix == ".db"]
            changed = {path: stamp(path) for path in databases if not again or self._is_due(path)}
            # copied before the other files are pushed: files that a record names must reach the
            # address before the record does
            copies = {path: stack.enter_context(consistent_copy(path)) for path in changed}
            # A sweep is known by its plan, which comes last: whoever finds it finds all else.
            others = [path for path in own if path not in databases]
            for path in sorted(others, key=lambda path: path.name == PLAN):
                if path.name == PLAN:
                    for database, copy in copies.items():
                        mirror.push_as(copy, database)
                if again:
                    mirror.push_changed(path, self._pushed)
                else:
                    self._pushed |= mirror.push(path)
            self._pushed |= changed
            self._database_pushed_s |= dict.fromkeys(changed, time.monotonic())

    def _is_due(self, database: Path) -> bool:
        """Reports whether a database has changed, and was pushed long enough ago for its size."""
        now = stamp(database)
        since_s = time.monotonic() - self._database_pushed_s.get(database, -math.inf)
        return self._pushed.get(database) != now and since_s >= now[1] / _DATABASE_RATE
