"""Hands events to a receiver that may be slow or away, in order, beside the caller's own work."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 5.0


class EventQueue:
    """Holds events until the receiver has taken them; one thread delivers them.

    An event that the receiver does not take is tried again until it is taken, so that none
    overtakes another; one that it refuses for good is laid aside.

    Args:
        deliver: gives an event to the receiver; to do so twice must change nothing.
        is_final: reports whether an exception of `deliver` means that the event is refused for
            good.
        on_trouble: is given every exception.
    """

    def __init__(
        self,
        deliver: Callable[[Event], None],
        *,
        is_final: Callable[[Exception], bool],
        on_trouble: Callable[[Exception], None],
    ) -> None:
        self._deliver = deliver
        self._is_final = is_final
        self._on_trouble = on_trouble
        self._waiting: deque[Event] = deque()
        self._refused: list[Event] = []
        self._changed = threading.Condition()
        self._closed = False
        self._failing_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Adds an event; returns at once."""
        with self._changed:
            self._waiting.append(event)
            self._changed.notify_all()

    def settle(self, patience_s: float, most_s: float = math.inf) -> list[Event]:
        """Waits until all events are delivered.

        Args:
            patience_s: how long the receiver may go on failing, seconds.
            most_s: how long the receiver is waited for in all, seconds.

        Returns:
            The events that are not taken so far, oldest first.
        """
        began = time.monotonic()
        with self._changed:
            while self._waiting and self._thread.is_alive():
                since, now = self._failing_since, time.monotonic()
                if now - began > most_s:
                    break
                if since is not None and now - max(since, began) > patience_s:
                    break
                self._changed.wait(0.2)
            return [*self._refused, *self._waiting]

    def close(self, patience_s: float, most_s: float = math.inf) -> list[Event]:
        """Waits as `settle`, drops what is left and ends the thread; Ctrl-C ends the waiting."""
        try:
            left = self.settle(patience_s, most_s)
        except KeyboardInterrupt:
            left = self.settle(patience_s, most_s=0.0)
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        return left

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while (event := self._next()) is not None:
            try:
                self._deliver(event)
            except Exception as error:
                self._on_trouble(error)
                if self._is_final(error):
                    self._drop(event, refused=True)
                    continue
                self._failed(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                continue
            wait_s = _FIRST_WAIT_S
            self._drop(event)

    def _next(self) -> Event | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            return self._waiting[0] if self._waiting else None

    def _failed(self, wait_s: float) -> None:
        with self._changed:
            if self._failing_since is None:
                self._failing_since = time.monotonic()
            # a new event ends the wait early: one more attempt does no harm
            self._changed.wait(wait_s)

    def _drop(self, event: Event, *, refused: bool = False) -> None:
        with self._changed:
            self._failing_since = None
            if refused:
                self._refused.append(event)
            if self._waiting and self._waiting[0] is event:
                self._waiting.popleft()
            self._changed.notify_all()
