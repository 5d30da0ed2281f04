"""The end of a sweep that is told to stop, in the grace that it gets."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

INTERRUPTED = 130
_GRACE_S = 15.0


@dataclass
class Grace:
    """SIGTERM stops a sweep as Ctrl-C does; where that takes too long, it ends all the same.

    SIGTERM to a whole process group takes Ray down first, and its driver waits for it in vain.

    Attributes:
        late: tells how the sweep stands, where it was not ended in time.
    """

    late: Callable[[], None] = lambda: None

    @contextlib.contextmanager
    def of_sigterm(self) -> Iterator[None]:
        """Answers SIGTERM for the time of the block."""
        timer = threading.Timer(_GRACE_S, self._end)
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

    def _end(self) -> None:
        try:
            self.late()
        finally:
            os._exit(INTERRUPTED)
