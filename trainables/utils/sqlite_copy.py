"""Copies SQLite databases while others write to them."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

SIDE_FILES = ("-journal", "-wal", "-shm")
"""Endings of the files beside a database, which would spoil another version of it."""


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
