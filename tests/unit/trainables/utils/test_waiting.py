"""Waits that end by themselves: who is in one, and a lock whose holder is stopped."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables.utils import waiting
from trainables.utils.waiting import HeldError, held, is_waiting


def hold(path: Path) -> None:
    waiting._SIGN_S = 0.05
    with held(path):
        (path.parent / "held").touch()
        time.sleep(60)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[int]:
    """The number of a process that holds a lock and gives signs of life."""
    process = multiprocessing.get_context("spawn").Process(
        target=hold, args=(tmp_path / "lock",), daemon=True
    )
    process.start()
    until = time.monotonic() + 30
    while not (tmp_path / "held").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert process.pid is not None
    yield process.pid
    process.kill()
    process.join(30)


def test_a_thread_waits_in_the_block_alone_and_no_longer_than_it_may() -> None:
    mine = threading.get_ident()
    assert not is_waiting(mine)
    with waiting.waiting():
        assert is_waiting(mine)
        with waiting.waiting(0.0):
            assert is_waiting(mine)
        assert is_waiting(mine)
        assert not is_waiting(mine + 1)
    with waiting.waiting(0.0):
        assert not is_waiting(mine)
    assert not is_waiting(mine)


def test_a_lock_is_waited_for_while_its_holder_lives_and_given_up_where_it_is_stopped(
    tmp_path: Path, holder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_SIGN_S", 0.1)
    monkeypatch.setattr(waiting, "_GONE_S", 0.6)
    mine, over = threading.get_ident(), threading.Event()
    seen: list[bool] = []

    def strike() -> None:
        over.wait(1.0)  # longer than a silent holder is waited for
        seen.append(is_waiting(mine))
        os.kill(holder, signal.SIGSTOP)

    striking = threading.Thread(target=strike)
    began = time.monotonic()
    striking.start()
    with (
        pytest.raises(
            HeldError, match="lock is locked by a process that has given no sign of life"
        ),
        held(tmp_path / "lock"),
    ):
        pass
    striking.join()
    assert seen == [True]
    assert time.monotonic() - began > 1.0
    assert not is_waiting(mine)


def test_the_lock_of_a_holder_that_dies_is_taken(tmp_path: Path, holder: int) -> None:
    os.kill(holder, signal.SIGKILL)
    with held(tmp_path / "lock"):
        pass
