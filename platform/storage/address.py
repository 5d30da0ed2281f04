"""A storage behind an address, as a reader meets it: this node's folder, and what it pulls there.

Where the storage is a plain folder, its path is the answer to everything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import Timeout

from platform.storage.lease import driver_lock
from trainables.utils.addresses import is_address, unreachable
from trainables.utils.object_store import Mirror, working_copy

if TYPE_CHECKING:
    from platform.plan.plan import Plan

PLAN = "plan.json"
TRIALS = "trials"
# The session that drove the sweep last, in this node's folder and at the address. Where both are
# equal, the files of this node are the newer ones.
SESSION = ".session"


def open_storage(address: str) -> Path:
    """Returns this node's folder for a storage behind an address, with the plans of its sweeps.

    Raises:
        StorageError: the address cannot be used.
    """
    mirror = working_copy(address)
    mirror.remote.check()
    with reaching(mirror):
        for name in mirror.remote.folders():
            mirror.pull(mirror.local / name / PLAN)
    return mirror.local


def fetch_sweep(storage: str, name: str) -> Path:
    """Returns the folder of sweeps that holds one; pulls that sweep where it has an address.

    While its driver runs on this node nothing is pulled: what the driver has is newer.

    Args:
        storage: a path or an address.
        name: the sweep's name.

    Raises:
        StorageError: the address cannot be used.
    """
    if not is_address(storage):
        return Path(storage)
    local = open_storage(storage)
    mirror = working_copy(storage)
    with contextlib.suppress(Timeout), driver_lock(local, name), reaching(mirror):
        pull_sweep(mirror, local / name)
    return local


def pull_sweep(mirror: Mirror, folder: Path) -> None:
    """Pulls a sweep into this node's folder.

    Files that a lost driver of this node had not pushed yet are kept.

    Raises:
        OSError: the address cannot be reached.
    """
    last = mirror.read(folder / SESSION)
    try:
        newer = last is not None and (folder / SESSION).read_bytes() == last
    except FileNotFoundError:
        newer = False
    mirror.pull(folder, lacking=newer)
    mirror.pull(folder / TRIALS)


def push_folder(folder: Path) -> None:
    """Pushes a folder of a sweep to its storage's address, where the storage has one.

    Raises:
        StorageError: the address cannot be reached.
    """
    for above in folder.absolute().parents:
        mirror = Mirror.of(above)
        if mirror is not None:
            with reaching(mirror):
                mirror.push(folder)


def storage_address(plan: Plan) -> str:
    """Returns the address of a plan's storage; empty where the storage is a folder."""
    mirror = Mirror.of(plan.storage)
    return "" if mirror is None else mirror.address


def storage_option(plan: Plan) -> str:
    """Returns what `--storage` is given for a plan: the storage's address, else its path."""
    return storage_address(plan) or str(plan.storage)


@contextlib.contextmanager
def reaching(mirror: Mirror) -> Iterator[None]:
    """Turns a fault of the address in the block into a line with its remedy.

    Raises:
        StorageError: the address cannot be reached.
        OSError: a fault of this machine, such as a ledger that another process holds.
    """
    try:
        yield
    except OSError as error:
        if mirror.is_local(error):
            raise
        raise unreachable(mirror.address, error) from error
