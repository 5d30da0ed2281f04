"""Claims a sweep for one driver; one whose name was not given gets its name by that."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator

from filelock import Timeout

from platform.cli import sweep_names
from platform.cli.requested_plan import SweepCall
from platform.plan.plan import Plan
from platform.storage.lease import InUseError, driver_lock
from platform.storage.replica import Replica


@contextlib.contextmanager
def claimed(call: SweepCall) -> Iterator[tuple[SweepCall, Replica]]:
    """Keeps all other drivers from the sweep for the time of the block.

    A sweep whose name was not given gets the first one that no other process has or takes.

    Yields:
        The call, by the name that the sweep now has, and the sweep's replica.

    Raises:
        InUseError: another process runs the sweep, or there is one of the name that was given.
        StorageError: the address of the storage cannot be reached.
    """
    new = not call.request.resume
    names: Iterable[str] = [call.plan.name]
    if chooses := new and call.request.name is None:
        names = sweep_names.free_names(call.plan.storage, call.plan.study)
    for name in names:
        plan = dataclasses.replace(call.plan, name=name)
        replica = Replica(plan)
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(_sole_driver(plan, new=new))
                held.enter_context(replica.held(new=new))
            except InUseError:
                if chooses:
                    continue
                raise
            yield dataclasses.replace(call, plan=plan), replica
            return


@contextlib.contextmanager
def _sole_driver(plan: Plan, *, new: bool) -> Iterator[None]:
    """Holds the lock of the sweep's one driver on this machine."""
    lock = driver_lock(plan.storage, plan.name)
    try:
        lock.acquire()
    except Timeout:
        raise InUseError(
            f"sweep {plan.name!r} is being run by another process: wait for it, or take "
            "another --name"
        ) from None
    try:
        if new and sweep_names.is_in_use(plan.folder):
            raise InUseError(f"--name {plan.name} is in use in {plan.storage}")
        yield
    finally:
        lock.release()
