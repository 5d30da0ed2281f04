"""Lists the files that work leaves, and finds which of them are gone or altered since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trainables.utils.hashing import hash_bytes

# size and SHA-256 of each file, by its name
Inventory = Mapping[str, Mapping[str, Any]]


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
