"""Ends a sweep that is told to stop, within the time that it is given."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from trainables.utils.errors import INTERRUPTED

_GRACE_S = 15.0


@contextlib.contextmanager
def answering_sigterm(late: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Makes SIGTERM stop the block as Ctrl-C does; ends the process where that takes too long.

    SIGTERM to a whole process group takes Ray down first, and its driver waits for it in vain.

    Args:
        late: called before the process ends, where the block has not ended within the grace.
    """

    def end() -> None:
        try:
            late()
        finally:
            os._exit(INTERRUPTED)

    timer = threading.Timer(_GRACE_S, end)
    timer.daemon = True

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not timer.is_alive():
            timer.start()
        # a script's background processes ignore Ctrl-C
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        timer.cancel()
