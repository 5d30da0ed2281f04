"""Files of a local folder: which are copied to an address, and how one changed or gone is found."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.utils.files import SIDE_FILES
from trainables.utils.hashing import hash_bytes

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

_STAYING = (".part", ".lock", *(f".db{ending}" for ending in SIDE_FILES))

Inventory = Mapping[str, Mapping[str, Any]]
"""Size and SHA-256 of each file, by its name."""

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


def take_inventory(files: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Returns what is known of the files of a folder: `bytes` and `sha256`, by their names.

    Raises:
        OSError: a file cannot be read.
    """
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": hash_bytes(path)}
        for path in sorted(files)
    }


def lost(folder: Path, listed: Inventory, *, read: bool = False) -> list[str]:
    """Returns what has become of the files that are no longer as they were, in words.

    Args:
        folder: held the files.
        listed: what was known of them; of a file of which nothing is known, that it was there.
        read: compares digests, for which every file is read; else sizes alone.
    """
    if not folder.is_dir():
        return ["its folder is gone"]
    faults = {name: _fault(folder / name, known, read=read) for name, known in listed.items()}
    return [f"{name} {fault}" for name, fault in faults.items() if fault]


def _fault(path: Path, known: Mapping[str, Any], *, read: bool) -> str:
    try:
        size = path.stat().st_size
        wanted = known.get("bytes", size)
        if size != wanted:
            return f"has {size} bytes, not {wanted}"
        altered = read and "sha256" in known and hash_bytes(path) != known["sha256"]
        return "is altered" if altered else ""
    except (FileNotFoundError, NotADirectoryError):
        return "is gone"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
