"""A thread beside the main one, and how many threads torch computes on."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def every(seconds: float, work: Callable[[], None]) -> Iterator[None]:
    """Does some work again and again while the block runs, on a thread of its own.

    Args:
        seconds: between the end of one time and the begin of the next.
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


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Runs torch on a fixed number of threads, which can change the last bit of a sum."""
    import torch  # what plans and watches uses `every`, and starts quickly

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
