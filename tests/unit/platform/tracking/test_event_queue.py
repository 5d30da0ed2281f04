"""Events reach a receiver that fails, in order, and none is lost without a word."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from platform.tracking import event_queue
from platform.tracking.event_queue import Event, EventQueue


class Receiver:
    """Takes events, but for those it refuses, and none while it is away."""

    def __init__(self) -> None:
        self.away = False
        self.refused: set[int] = set()
        self.not_taken: set[int] = set()
        self.asked: list[int] = []
        self.lost: list[int] = []
        self.taken: list[int] = []
        self.troubles: list[str] = []

    def take(self, event: Event) -> None:
        if self.away:
            raise ConnectionError("away")
        if event["number"] in self.refused:
            raise ValueError("refused")
        self.asked.append(event["number"])
        if event["number"] in self.not_taken:
            raise OSError("not taken")
        self.taken.append(event["number"])

    def queue(self) -> EventQueue:
        return EventQueue(
            self.take,
            is_final=lambda error: isinstance(error, ValueError),
            is_away=lambda: self.away,
            on_trouble=lambda error: self.troubles.append(str(error)),
            on_loss=lambda event: self.lost.append(event["number"]),
        )


def event(number: int) -> Event:
    return {"event": "metrics" if number else "start", "number": number}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.away = False


def test_events_arrive_in_their_order(receiver: Receiver) -> None:
    queue = receiver.queue()
    for number in range(200):
        queue.put(event(number))
    assert not queue.close(1.0)
    assert receiver.taken == list(range(200))


def test_to_put_does_not_wait_for_the_receiver(receiver: Receiver) -> None:
    receiver.away = True
    queue = receiver.queue()
    began = time.monotonic()
    for number in range(1000):
        queue.put(event(number))
    assert time.monotonic() - began < 1.0
    assert queue.close(0.1) == {"start": 1, "metrics": 999}


def test_what_was_put_while_the_receiver_was_away_arrives_once_in_order(receiver: Receiver) -> None:
    queue = receiver.queue()
    queue.put(event(0))
    assert not queue.settle(1.0)
    receiver.away = True
    for number in range(1, 5):
        queue.put(event(number))
    assert queue.settle(0.3) == {"metrics": 4}
    receiver.away = False
    assert not queue.close(10.0)
    assert receiver.taken == list(range(5))
    assert set(receiver.troubles) == {"away"}


def test_a_receiver_that_is_slow_is_waited_for_no_longer_than_asked(receiver: Receiver) -> None:
    over = threading.Event()
    queue = EventQueue(
        lambda event: over.wait(30) and None,
        is_final=lambda error: False,
        is_away=lambda: False,
        on_trouble=lambda error: None,
    )
    queue.put(event(0))
    began = time.monotonic()
    assert queue.close(patience_s=60.0, most_s=0.3).total() == 1
    assert time.monotonic() - began < 5.0
    over.set()


def test_an_event_that_is_refused_is_told_of_and_holds_nothing_up(receiver: Receiver) -> None:
    receiver.refused = {1}
    queue = receiver.queue()
    for number in range(3):
        queue.put(event(number))
    assert queue.close(1.0) == {"metrics": 1}
    assert receiver.lost == [1]
    assert receiver.taken == [0, 2]
    assert receiver.troubles == ["refused"]


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is tried again almost at once."""
    monkeypatch.setattr(event_queue, "_FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(event_queue, "_LONGEST_WAIT_S", 0.002)


@pytest.mark.usefixtures("soon")
def test_an_event_that_is_not_taken_is_set_aside_and_the_rest_goes_on(receiver: Receiver) -> None:
    receiver.not_taken = {1, 2, 4}
    queue = receiver.queue()
    for number in range(5):
        queue.put(event(number))
    assert queue.settle(10.0) == {"metrics": 3}
    assert receiver.taken == [0, 3]
    # 2 follows one that was set aside, 4 one that was taken
    assert [receiver.asked.count(number) for number in range(5)] == [1, 5, 1, 1, 5]
    assert receiver.lost == [1, 2, 4]
    receiver.not_taken = {4}
    queue.retry()
    assert queue.close(10.0) == {"metrics": 1}
    assert receiver.taken == [0, 3, 1, 2]


@pytest.mark.usefixtures("soon")
def test_an_event_behind_one_that_is_refused_in_the_end_has_all_its_attempts() -> None:
    asked: list[int] = []

    def take(event: Event) -> None:
        asked.append(event["number"])
        raise ValueError("refused") if len(asked) == 4 else OSError("not taken")

    queue = EventQueue(
        take,
        is_final=lambda error: isinstance(error, ValueError),
        is_away=lambda: False,
        on_trouble=lambda error: None,
    )
    for number in range(2):
        queue.put(event(number))
    assert queue.close(10.0).total() == 2
    assert asked == [0] * 4 + [1] * 5


@pytest.mark.usefixtures("soon")
def test_a_receiver_that_is_away_uses_up_no_attempts(receiver: Receiver) -> None:
    receiver.away = True
    queue = receiver.queue()
    queue.put(event(0))
    until = time.monotonic() + 10
    while len(receiver.troubles) < 50:
        assert time.monotonic() < until
        time.sleep(0.01)
    receiver.away = False
    assert not queue.close(10.0)
    assert receiver.taken == [0]
    assert receiver.lost == []


def test_no_more_events_wait_than_fit_and_those_left_out_are_counted(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_queue, "_MOST_WAITING", 10)
    receiver.away = True
    queue = receiver.queue()
    for number in range(25):
        queue.put(event(number))
    assert queue.settle(0.1).total() == 25
    receiver.away = False
    assert queue.close(10.0) == {"metrics": 15}
    # the first one is under way
    assert receiver.taken == [0, *range(16, 25)]
    assert receiver.lost == list(range(1, 16))
