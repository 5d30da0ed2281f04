"""Writes files and folders whole and lasting, and copies databases that others write to.

A reader meets the old content of a file or the new, never a part of either. What these functions
wrote is there after a loss of power, too: content is flushed to the disk before it gets its name,
and the name after that.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# endings of the files beside an SQLite database, which would spoil another version of it
SIDE_FILES = ("-journal", "-wal", "-shm")
# what file systems answer that flush no folder, such as some of a network
_NOT_FLUSHED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path to write to, which takes the place of `path` at the end of the block.

    Where the block raises, `path` stays as it was.

    Args:
        path: the file's place; its folder must exist.

    Raises:
        OSError: the file cannot be written, such as on a full disk.
    """
    # the dot hides it from those who list finished files, the suffix from those who copy them;
    # processes of two nodes that share the folder may have one number
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        yield beside
        flush(beside)
        beside.replace(path)
        flush(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Waits until the content of a file, or the names in a folder, are on the disk.

    Raises:
        OSError: it cannot be opened, or the disk fails.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_FLUSHED or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def flush_all(folder: Path) -> None:
    """Waits until all that a folder holds, at any depth, is on the disk.

    Raises:
        OSError: as `flush`.
    """
    for path in folder.rglob("*"):
        if path.is_dir() or path.is_file():
            with contextlib.suppress(FileNotFoundError):  # such as a sign of life, just removed
                flush(path)
    flush(folder)


def make_folder(folder: Path) -> None:
    """Makes a folder, and those above it that are absent; one that is there is left as it is.

    Raises:
        OSError: it cannot be made, or the disk fails.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in reversed(made):
        flush(each.parent)


def place_folder(folder: Path, place: Path) -> None:
    """Gives a finished folder its final name, where nothing is yet.

    Args:
        folder: lies in the same folder as its final place.
        place: the final one.

    Raises:
        OSError: as `flush`; or something is there.
    """
    flush_all(folder)
    folder.replace(place)
    flush(place.parent)


def write_text(path: Path, text: str) -> None:
    """Writes a text file in UTF-8, whole.

    Raises:
        OSError: as `replacing`.
    """
    with replacing(path) as beside:
        beside.write_text(text, "utf-8")


def write_json(path: Path, values: Mapping[str, Any] | Sequence[Any]) -> None:
    """Writes an object or a list as a JSON file, whole.

    Raises:
        OSError: as `replacing`.
        ValueError: a number in it is not finite.
    """
    write_text(path, json_text(values))


def json_text(values: Mapping[str, Any] | Sequence[Any]) -> str:
    """Returns the content of a file that `write_json` writes."""
    return json.dumps(values, indent=2, allow_nan=False) + "\n"


@contextlib.contextmanager
def consistent_copy(database: Path) -> Iterator[Path]:
    """Yields a copy of a database as it stands between two transactions; it is removed at the end.

    Raises:
        OSError: the database cannot be read, or the copy cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="unlearn-") as made:
        copy = Path(made) / database.name
        # quoted: "?", "%" and "#" of a folder's name mean something else in an address
        address = f"{database.absolute().as_uri()}?mode=ro"
        try:
            with (
                contextlib.closing(sqlite3.connect(address, uri=True)) as source,
                contextlib.closing(sqlite3.connect(copy)) as target,
            ):
                # a backup alone waits for ever where another process holds the database
                source.execute("begin")
                source.execute("select 1 from sqlite_schema").fetchall()
                source.backup(target)
        except sqlite3.Error as error:
            raise OSError(f"{database} cannot be read ({error})") from error
        yield copy
