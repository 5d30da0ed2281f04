"""Work that goes on beside the main thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def every(seconds: float, work: Callable[[], None]) -> Iterator[None]:
    """Does something now and then for the time of the block, from a thread of its own.

    Args:
        seconds: between one time and the next.
        work: raises nothing.
    """
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(seconds):
            work()

    thread = threading.Thread(target=go_on, name=work.__name__, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
