"""Hands events to a receiver that may be slow or away, in order, beside the caller's own work."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 5.0
_ATTEMPTS = 5
_MOST_WAITING = 10_000


class EventQueue:
    """Holds events until the receiver has taken them; one thread delivers them.

    While the receiver is away, all events wait. An event that is not taken by a receiver which
    answers is set aside, so that it holds nothing up: at once where it is refused for good, else
    after five attempts. While nothing is taken in between, the next ones get one attempt each.
    Where more than 10,000 events wait, the oldest is left out.

    Args:
        deliver: gives an event, a mapping with its name as `event`, to the receiver; to do so twice
            must change nothing.
        is_final: reports whether an exception of `deliver` means that the event is refused for
            good.
        is_away: reports, after an exception of `deliver`, whether the receiver takes no event.
        on_trouble: is given every exception.
        on_loss: is given every event that is set aside or left out.
    """

    def __init__(
        self,
        deliver: Callable[[Event], None],
        *,
        is_final: Callable[[Exception], bool],
        is_away: Callable[[], bool],
        on_trouble: Callable[[Exception], None],
        on_loss: Callable[[Event], None] = lambda event: None,
    ) -> None:
        self._deliver = deliver
        self._is_final = is_final
        self._is_away = is_away
        self._on_trouble = on_trouble
        self._on_loss = on_loss
        self._waiting: deque[Event] = deque()
        self._aside: list[Event] = []
        self._lost: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._closed = False
        self._failing_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="record", daemon=True)
        self._thread.start()

    def put(self, event: Event) -> None:
        """Adds an event; returns at once."""
        with self._changed:
            self._waiting.append(event)
            if len(self._waiting) > _MOST_WAITING:
                self._lose(self._waiting[1])  # the first may be under way
                del self._waiting[1]
            self._changed.notify_all()

    def retry(self) -> None:
        """Adds the events once more that were set aside, but for those refused for good."""
        with self._changed:
            again, self._aside = self._aside, []
        for event in again:
            self.put(event)

    def settle(self, patience_s: float, most_s: float = math.inf) -> Counter[str]:
        """Waits until all events are delivered or set aside.

        Args:
            patience_s: how long the receiver may go on failing, seconds.
            most_s: how long the receiver is waited for in all, seconds.

        Returns:
            How many events are not taken so far, by their names.
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
            return self._lost + Counter(each["event"] for each in (*self._aside, *self._waiting))

    def close(self, patience_s: float, most_s: float = math.inf) -> Counter[str]:
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
        failures, most, wait_s = 0, _ATTEMPTS, _FIRST_WAIT_S
        while (event := self._next()) is not None:
            try:
                self._deliver(event)
            except Exception as error:
                self._on_trouble(error)
                if self._is_final(error):
                    self._drop(event, lost=True)
                    failures, wait_s = 0, _FIRST_WAIT_S
                    continue
                self._fails()
                failures += not self._is_away()
                if failures < most:
                    self._wait(wait_s)
                    wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
                    continue
                self._set_aside(event)
                failures, most, wait_s = 0, 1, _FIRST_WAIT_S
                continue
            failures, most, wait_s = 0, _ATTEMPTS, _FIRST_WAIT_S
            self._drop(event)

    def _next(self) -> Event | None:
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            return self._waiting[0] if self._waiting else None

    def _fails(self) -> None:
        with self._changed:
            if self._failing_since is None:
                self._failing_since = time.monotonic()

    def _wait(self, wait_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed, wait_s)

    def _set_aside(self, event: Event) -> None:
        with self._changed:
            if len(self._aside) < _MOST_WAITING:
                self._aside.append(event)
                self._on_loss(event)
            else:
                self._lose(event)
            self._remove(event)

    def _drop(self, event: Event, *, lost: bool = False) -> None:
        with self._changed:
            self._failing_since = None
            if lost:
                self._lose(event)
            self._remove(event)

    def _lose(self, event: Event) -> None:
        self._lost[event["event"]] += 1
        self._on_loss(event)

    def _remove(self, event: Event) -> None:
        if self._waiting and self._waiting[0] is event:
            self._waiting.popleft()
        self._changed.notify_all()
