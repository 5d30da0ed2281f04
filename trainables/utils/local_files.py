"""The files of a local folder that are copied to an address, and how a change of one is found."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.utils.files import SIDE_FILES

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

_STAYING = (".part", ".lock", *(f".db{ending}" for ending in SIDE_FILES))

Stamp = tuple[int, int]
"""When a file was written last, nanoseconds since 1970, and its size in bytes."""


def stays(name: str) -> bool:
    """Tells whether a file is never copied: it is hidden, half written, a lock, or SQLite's own."""
    return name.endswith(_STAYING) or any(part.startswith(".") for part in name.split("/"))


def files_below(path: Path) -> list[Path]:
    """Returns a file alone, or all files of a folder that are not `stays`, sorted."""
    return [path] if path.is_file() else [Path(file) for file in sorted(_files(str(path)))]


def _files(folder: str) -> Iterator[str]:
    """Yields paths; without a look at each file, as the record of a sweep may have very many."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith("."):
                    yield from _files(entry.path)
            elif entry.is_file(follow_symlinks=False) and not stays(entry.name):
                yield entry.path


def stamp(file: Path) -> Stamp:
    """Returns what differs once a file was written anew."""
    status = file.stat()
    return status.st_mtime_ns, status.st_size


def is_same(here: Stamp, there: FileInfo) -> bool:
    """Reports whether a local file is as the one that an address tells of."""
    # a store tells of whole seconds where it is asked for one file
    written_ns, size = here
    return bool(size == there.size) and written_ns // 10**9 == there.mtime_ns // 10**9
