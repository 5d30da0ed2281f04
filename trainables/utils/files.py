"""Writes files whole, and copies databases that others write to.

A reader meets the old content of a file or the new, never a part of either.
"""

from __future__ import annotations

import contextlib
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


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path to write to, which takes the place of `path` at the end of the block.

    The content is flushed to the disk before the rename, so that a loss of power leaves no empty
    file under the final name. Where the block raises, `path` stays as it was.

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
    finally:
        beside.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Waits until the content of a file is on the disk.

    Raises:
        OSError: it cannot be opened, or the disk fails.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


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
    write_text(path, json.dumps(values, indent=2, allow_nan=False) + "\n")


@contextlib.contextmanager
def consistent_copy(database: Path) -> Iterator[Path]:
    """Yields a copy of a database as it stands between two transactions; it is removed at the end.

    Raises:
        OSError: the database cannot be read, or the copy cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="unlearn-") as made:
        copy = Path(made) / database.name
        try:
            with (
                contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as source,
                contextlib.closing(sqlite3.connect(copy)) as target,
            ):
                source.backup(target)
        except sqlite3.Error as error:
            raise OSError(f"{database}: {error}") from error
        yield copy
