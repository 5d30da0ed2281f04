"""Events reach a receiver that fails, in order, and none is lost without a word."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from platform.tracking.event_queue import Event, EventQueue


class Receiver:
    """Takes events, but for those it refuses, and none while it is away."""

    def __init__(self) -> None:
        self.away = False
        self.refused: set[int] = set()
        self.taken: list[int] = []
        self.troubles: list[str] = []

    def take(self, event: Event) -> None:
        if self.away:
            raise ConnectionError("away")
        if event["number"] in self.refused:
            raise ValueError("refused")
        self.taken.append(event["number"])

    def queue(self) -> EventQueue:
        return EventQueue(
            self.take,
            is_final=lambda error: isinstance(error, ValueError),
            on_trouble=lambda error: self.troubles.append(str(error)),
        )


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.away = False


def test_events_arrive_in_their_order(receiver: Receiver) -> None:
    queue = receiver.queue()
    for number in range(200):
        queue.put({"number": number})
    assert queue.close(1.0) == []
    assert receiver.taken == list(range(200))


def test_to_put_does_not_wait_for_the_receiver(receiver: Receiver) -> None:
    receiver.away = True
    queue = receiver.queue()
    began = time.monotonic()
    for number in range(1000):
        queue.put({"number": number})
    assert time.monotonic() - began < 1.0
    assert len(queue.close(0.1)) == 1000


def test_what_was_put_while_the_receiver_was_away_arrives_once_in_order(receiver: Receiver) -> None:
    queue = receiver.queue()
    queue.put({"number": 0})
    assert queue.settle(1.0) == []
    receiver.away = True
    for number in range(1, 5):
        queue.put({"number": number})
    assert len(queue.settle(0.3)) == 4
    receiver.away = False
    assert queue.close(10.0) == []
    assert receiver.taken == list(range(5))
    assert set(receiver.troubles) == {"away"}


def test_a_receiver_that_is_slow_is_waited_for_no_longer_than_asked(receiver: Receiver) -> None:
    over = threading.Event()
    queue = EventQueue(
        lambda event: over.wait(30) and None,
        is_final=lambda error: False,
        on_trouble=lambda error: None,
    )
    queue.put({"number": 0})
    began = time.monotonic()
    assert len(queue.close(patience_s=60.0, most_s=0.3)) == 1
    assert time.monotonic() - began < 5.0
    over.set()


def test_an_event_that_is_refused_is_told_of_and_holds_nothing_up(receiver: Receiver) -> None:
    receiver.refused = {1}
    queue = receiver.queue()
    for number in range(3):
        queue.put({"number": number})
    assert queue.close(1.0) == [{"number": 1}]
    assert receiver.taken == [0, 2]
    assert receiver.troubles == ["refused"]
