"""A disk that loses all that was not flushed, and says what that would be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest


class LosingDisk:
    """Watches what this process flushes and renames by Python's own calls.

    Attributes:
        named_too_early: what had not been flushed when it got its final name.
    """

    def __init__(self, patched: pytest.MonkeyPatch) -> None:
        self.named_too_early: list[str] = []
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._fsync, self._replace = os.fsync, os.replace
        patched.setattr(os, "fsync", self._flushed)
        patched.setattr(os, "replace", self._renamed)

    def lost(self, path: Path) -> list[str]:
        """What a loss of power would take now of a file, or of a folder at any depth."""
        number = path.stat().st_ino
        if path.is_file():
            return [] if self._contents.get(number) == path.read_bytes() else [f"content of {path}"]
        kept, there = self._names.get(number, {}), _names_in(path)
        gone = [f"name {path / name}" for name in there if kept.get(name) != there[name]]
        return gone + [each for name in sorted(there) for each in self.lost(path / name)]

    def _flushed(self, descriptor: int) -> None:
        self._fsync(descriptor)
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            self._names[status.st_ino] = _names_in(descriptor)
        else:
            self._contents[status.st_ino] = os.pread(descriptor, status.st_size, 0)

    def _renamed(self, source: Path, target: Path) -> None:
        self.named_too_early += self.lost(Path(source))
        self._replace(source, target)


def _names_in(folder: Path | int) -> dict[str, int]:
    """The files and folders in a folder and the number of each; locks hold nothing to lose."""
    with os.scandir(folder) as found:
        return {each.name: each.inode() for each in found if not each.name.endswith(".lock")}
