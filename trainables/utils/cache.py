"""Finished folders kept by content: a folder's name is a hash of everything that can change it."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from trainables.utils.errors import CheckpointError
from trainables.utils.files import write_json
from trainables.utils.hashing import content_key, read_sealed, seal
from trainables.utils.object_store import Mirror, StorageError, patiently

_MATERIAL = "material.json"
_MOST_HASHED = 2**30  # bytes


def build_once(
    root: Path, kind: str, material: Mapping[str, Any], build: Callable[[Path], None]
) -> Path:
    """The folder of some work, done now unless it was done before.

    One process builds and others wait. A folder appears whole, by a rename; a build that fails or
    is killed leaves nothing that a later one would take for finished. Each process holds what it
    finds against the digests that were taken when it was made, once. In a cache that is a node's
    copy of one behind an address, what is there is taken before anything is built, and what was
    built is brought there; of two nodes that build at once, the later takes the other's.

    Args:
        root: of the cache.
        kind: what the work is, the first part of the folder's name.
        material: everything that can change the result, as values that JSON can hold.
        build: does the work in the empty folder that it is given.

    Raises:
        CheckpointError: a file of it was altered since.
        StorageError: the cache is a copy, and its address cannot be reached.
    """
    folder = folder_of(root, kind, material)
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(folder.name + ".lock")):
            # a build that was killed left a part: the lock is ours, so nobody writes there now
            if not folder.is_dir():
                _make(folder, material, build).replace(folder)
            _verify(folder)
    _verify(folder)
    return folder


def _make(folder: Path, material: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
    """The finished work under a name of its own: as the place has it, else built here."""
    ready = _brought(folder)
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
        ready = _brought(folder)
    if ready is None:
        return built
    shutil.rmtree(built)
    return ready


def _brought(folder: Path) -> Path | None:
    """What the place of a copied cache has of this work, here and whole; None where it has not."""
    elsewhere = Mirror.of(folder.parent)
    if elsewhere is None:
        return None
    return patiently(elsewhere, lambda mirror: _obtain(mirror, folder))


def _obtain(elsewhere: Mirror, folder: Path) -> Path | None:
    if not elsewhere.is_published(folder):
        return None
    temporary = _emptied(folder, "theirs.part")
    elsewhere.obtain(folder, temporary)
    _refuse_altered(temporary, f"{elsewhere.address}: {folder.name}")
    return temporary


def _emptied(folder: Path, ending: str) -> Path:
    """Where a folder is made before it has its name; nothing is there."""
    temporary = folder.with_name(f"{folder.name}.{ending}")
    shutil.rmtree(temporary, ignore_errors=True)
    return temporary


def _digests(folder: Path) -> dict[str, str]:
    """Of every file in a folder, by its path; of a very large one its size, which is read soon."""
    found = {}
    for path in sorted(folder.rglob("*")):
        size = path.stat().st_size
        if path.is_file() and path.name != _MATERIAL:
            name = path.relative_to(folder).as_posix()
            found[name] = f"{size} bytes" if size > _MOST_HASHED else _sha256(path)
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _verify(folder: Path) -> None:
    _refuse_altered(folder, str(folder))
    elsewhere = Mirror.of(folder.parent)
    # it was built just now, or by a process that was lost before it had brought it there
    if elsewhere is not None:
        patiently(elsewhere, lambda mirror: _share(mirror, folder))


def _share(elsewhere: Mirror, folder: Path) -> None:
    if not elsewhere.is_published(folder):
        elsewhere.publish(folder, folder)


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
    """Where `build_once` keeps this work, whether or not it is done."""
    return root / f"{kind}-{content_key(material)}"


def file_hash(path: Path, root: Path) -> str:
    """SHA-256 of a file's bytes in hexadecimal, read once for as long as its size and time stay.

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
        (folder / "sha256").write_text(_sha256(path))

    return (build_once(root, "file", material, build) / "sha256").read_text()


@functools.cache
def code_version(*names: str) -> str:
    """Twelve hexadecimal digits of the source of the modules and packages of these dotted names.

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    digest = hashlib.sha256()
    for name in sorted(names):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"no source for {name}")
        origin = Path(spec.origin)
        is_package = spec.submodule_search_locations is not None
        files = sorted(origin.parent.rglob("*.py")) if is_package else [origin]
        for file in files:
            digest.update(f"{name}/{file.relative_to(origin.parent).as_posix()}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
