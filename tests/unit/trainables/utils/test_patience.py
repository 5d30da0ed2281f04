"""Waiting for an address that does not answer."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from trainables.utils import waiting
from trainables.utils.addresses import StorageError
from trainables.utils.object_store import Mirror
from trainables.utils.waiting import patiently


@pytest.fixture
def one(tmp_path: Path) -> Mirror:
    return Mirror(tmp_path / "one", (tmp_path / "place").as_uri())


def test_a_place_that_answers_again_was_waited_for(
    one: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "_PAUSE_S", 0.01)
    asked: list[Mirror] = []

    def seldom(copy: Mirror) -> str:
        asked.append(copy)
        if len(asked) < 3:
            raise OSError("no route to host")
        return "answered"

    def full(copy: Mirror) -> str:
        asked.append(copy)
        raise OSError(errno.ENOSPC, "No space left on device")

    def locked(copy: Mirror) -> str:
        asked.append(copy)
        raise OSError(errno.EACCES, "Permission denied", str(copy.local / "a"))

    assert patiently(one, seldom) == "answered"
    for ours, told in ((full, "No space left"), (locked, "Permission denied")):
        with pytest.raises(OSError, match=told):
            patiently(one, ours)
    asked.clear()
    with pytest.raises(StorageError, match="no route to host"):
        patiently(one, seldom, waits=False)
    assert asked == [one]
