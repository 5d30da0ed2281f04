"""Waits for an address that does not answer for a while."""

from __future__ import annotations

import errno
import math
import time
from collections.abc import Callable
from typing import TypeVar

from trainables.utils.addresses import unreachable
from trainables.utils.object_store import Mirror

_PATIENCE_S, _PAUSE_S = 120.0, 5.0

T = TypeVar("T")


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
            here = str(error.filename or "").startswith(str(mirror.local))
            if here or error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            if time.monotonic() > until:
                raise unreachable(mirror.address, error) from error
        time.sleep(_PAUSE_S)
