"""Writes files whole: a reader meets the old content or the new, never a part of either."""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


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
