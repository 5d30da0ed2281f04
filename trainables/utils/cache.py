"""Finished folders kept by content: a folder's name is a hash of everything that can change it."""

from __future__ import annotations

import contextlib
import functools
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trainables.utils.addresses import StorageError
from trainables.utils.errors import CheckpointError
from trainables.utils.files import make_folder, place_folder, write_json
from trainables.utils.hashing import content_key, hash_bytes, read_sealed, seal
from trainables.utils.object_store import Mirror
from trainables.utils.waiting import held, patiently

_MATERIAL = "material.json"
_MOST_HASHED = 2**30  # bytes


def build_once(
    root: Path, kind: str, material: Mapping[str, Any], build: Callable[[Path], None]
) -> Path:
    """Returns the folder of some work, which is done now unless it was done before.

    One process builds and others wait. A folder appears whole and lasting, by a rename; a build
    that fails or is killed leaves nothing that a later one would take for finished. Each process
    compares what it finds with the digests that were taken when it was made, once. Where the cache
    is a node's copy of one behind an address, finished work is downloaded before anything is built,
    and built work is uploaded; of two nodes that build at once, the later takes the other's.

    Args:
        root: of the cache.
        kind: what the work is, the first part of the folder's name.
        material: everything that can change the result, as values that JSON can hold.
        build: does the work in the empty folder that it is given.

    Raises:
        CheckpointError: a file of the work was altered since.
        HeldError: another process builds it, and gives no sign of life.
        StorageError: the cache is a copy, and its address cannot be reached.
    """
    folder = folder_of(root, kind, material)
    if not folder.is_dir():
        make_folder(root)
        with held(folder.with_name(folder.name + ".lock")):
            # a build that was killed left a part: the lock is ours, so nobody writes there now
            if not folder.is_dir():
                place_folder(_make(folder, material, build), folder)
            _verify(folder)
    _verify(folder)
    return folder


def _make(folder: Path, material: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
    """Returns the finished work under a name of its own: downloaded, else built here."""
    ready = _downloaded(folder)
    if ready is not None:
        return ready
    built = _emptied(folder, "part")
    try:
        built.mkdir()
        build(built)
        made = seal({"material": material, "files": _digests(built)})
        write_json(built / _MATERIAL, made)
    except BaseException:
        shutil.rmtree(built, ignore_errors=True)
        raise
    # of two nodes that build at once, both go on from what the quicker one built
    with contextlib.suppress(StorageError):
        ready = _downloaded(folder)
    if ready is None:
        return built
    shutil.rmtree(built)
    return ready


def _downloaded(folder: Path) -> Path | None:
    """Downloads this work, where the cache is a copy of one that has it; else returns None."""
    mirror = Mirror.of(folder.parent)
    return None if mirror is None else patiently(mirror, lambda mirror: _obtain(mirror, folder))


def _obtain(mirror: Mirror, folder: Path) -> Path | None:
    if not mirror.is_published(folder):
        return None
    temporary = _emptied(folder, "theirs.part")
    mirror.obtain(folder, temporary)  # a folder whose files are gone is refused below
    _refuse_altered(temporary, f"{mirror.address}: {folder.name}")
    return temporary


def _emptied(folder: Path, ending: str) -> Path:
    """Returns the path where a folder is made before it has its name, and clears it."""
    temporary = folder.with_name(f"{folder.name}.{ending}")
    shutil.rmtree(temporary, ignore_errors=True)
    return temporary


def _digests(folder: Path) -> dict[str, str]:
    """Returns the digest of every file in a folder, by its path.

    A very large file is told by its size alone: to read it takes long, and it is read soon anyway.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        size = path.stat().st_size
        if path.is_file() and path.name != _MATERIAL:
            name = path.relative_to(folder).as_posix()
            found[name] = f"{size} bytes" if size > _MOST_HASHED else hash_bytes(path)
    return found


@functools.cache
def _verify(folder: Path) -> None:
    _refuse_altered(folder, str(folder))
    mirror = Mirror.of(folder.parent)
    # it was built just now, or by a process that was lost before it had uploaded it
    if mirror is not None:
        patiently(mirror, lambda mirror: _share(mirror, folder))


def _share(mirror: Mirror, folder: Path) -> None:
    if not mirror.is_published(folder):
        mirror.publish(folder, folder)


def _refuse_altered(folder: Path, name: str) -> None:
    try:
        made = read_sealed(folder / _MATERIAL)["files"]
        wrong = sorted(dict(made.items() ^ _digests(folder).items()))
    except (OSError, ValueError, KeyError) as error:
        wrong = [f"{_MATERIAL} ({error})"]
    if wrong:
        raise CheckpointError(
            f"{name}: {', '.join(wrong)[:200]} is not as it was made; remove this folder, and it "
            "is built anew"
        )


def folder_of(root: Path, kind: str, material: Mapping[str, Any]) -> Path:
    """Returns the folder where `build_once` keeps some work, whether or not it is done."""
    return root / f"{kind}-{content_key(material)}"


def file_hash(path: Path, root: Path) -> str:
    """Returns the SHA-256 of a file in hexadecimal, read once while its size and time stay.

    Args:
        path: of a file of weights.
        root: of the cache.

    Raises:
        CheckpointError: the file cannot be read.
    """
    try:
        seen = path.stat()
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from None
    material = {"path": str(path.absolute()), "bytes": seen.st_size, "time": seen.st_mtime_ns}

    def build(folder: Path) -> None:
        (folder / "sha256").write_text(hash_bytes(path))

    return (build_once(root, "file", material, build) / "sha256").read_text()
