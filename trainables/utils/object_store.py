"""A local folder and its copy behind an address, such as a bucket of an object store.

An object store has neither locks nor renames, and no program writes into it in place. So each node
works in a folder of its own, and whole files are copied: what is finished there, and what another
node needs here.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import math
import os
import re
import shutil
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from trainables.utils.errors import UserError
from trainables.utils.files import replacing, write_text
from trainables.utils.text import one_line

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

# they have no folders that a file's would have to be made first
_OBJECT_STORES = ("s3", "gcs", "abfs")
# a store may copy for longer than a request may be silent
_MOST_MOVED = 64 * 2**20
# SQLite's own, and halves: beside another version of their file they would spoil it
_STAYING = (".part", ".lock", ".db-journal", ".db-wal", ".db-shm")
_PATIENCE_S, _PAUSE_S = 120.0, 5.0
_MARK = ".copy-of"
# of a folder that is published: which of those that were brought counts
_WHOLE = "whole"
_PASSWORD = re.compile(r"://[^?@]*:[^?@]*@")
# what an address may ask for; anything else may be a secret, which takes many names
_ASKED = frozenset(
    (
        *("scheme", "endpoint_override", "region", "force_virtual_addressing"),
        *("tls_ca_file_path", "tls_verify_certificates", "allow_bucket_creation"),
        *("project_id", "retry_limit_seconds", "default_bucket_location", "enable_tls"),
        *("blob_storage_authority", "blob_storage_scheme", "dfs_storage_authority"),
        *("dfs_storage_scheme", "user", "replication", "buffer_size"),
    )
)


T = TypeVar("T")


class StorageError(UserError):
    """An address that is none, that cannot be reached, or that refuses."""


def is_address(text: str) -> bool:
    """Whether a storage is named by an address instead of a path."""
    return "://" in text


def refuse_secret(address: str) -> None:
    """Of an address nothing is accepted that could be a secret: it is recorded and shown.

    Raises:
        StorageError: it holds something else than a place, or than an option of one.
    """
    scheme, _, rest = address.partition("://")
    asked = {part.partition("=")[0] for part in rest.partition("?")[2].split("&")} - {""}
    if _PASSWORD.search(address):
        raise StorageError(
            f"--storage {scheme}://... holds a secret, and a sweep records its storage: leave "
            "it to the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if unknown := asked - _ASKED:
        raise StorageError(
            f"--storage {scheme}://... has {', '.join(sorted(unknown))}, which may hold a secret, "
            "and a sweep records its storage: leave it to the environment; an address may have "
            f"{', '.join(sorted(_ASKED))}"
        )


class Mirror:
    """Copies files between a folder of this machine and the place behind an address.

    Files are compared by size and by the time that the place gives them, which the local ones then
    have too. Names that begin with a dot stay where they are.

    Args:
        local: the folder.
        address: any that pyarrow knows (`s3://`, `gs://`, `abfs://`, `hdfs://`, `file://`).

    Raises:
        StorageError: pyarrow has nothing for such an address, or it holds a secret.
    """

    def __init__(self, local: Path, address: str) -> None:
        refuse_secret(address)
        self.local = local.absolute()
        self.address = address = _tidy(address)
        self.filesystem, self._root = _opened(address)

    def below(self, name: str) -> Mirror:
        """Of a folder inside this one.

        Args:
            name: the folder's, with slashes between its parts.
        """
        place, question, query = self.address.partition("?")
        return Mirror(self.local / name, f"{place.rstrip('/')}/{name}{question}{query}")

    def mark(self) -> None:
        """Lets `of` find this copy by its folder."""
        self.local.mkdir(parents=True, exist_ok=True)
        write_text(self.local / _MARK, self.address)

    @classmethod
    def of(cls, folder: Path) -> Mirror | None:
        """Of a marked folder; None of any other."""
        try:
            address = (folder / _MARK).read_text()
        except OSError:
            return None
        return cls(folder, address)

    def push(
        self,
        path: Path,
        *,
        last: str = "",
        exact: bool = False,
        lacking: bool = False,
        but: str = "",
    ) -> None:
        """Brings a file, or all files of a folder, to the place.

        A database (`.db`) is copied as it stands between two transactions.

        Args:
            path: in the local folder.
            last: the name of the file by which others know that all are there.
            exact: removes what the place has more in this folder.
            lacking: leaves what the place has, whether or not it is the same.
            but: a name of files that stay.

        Raises:
            OSError: the place cannot be reached, or refuses.
        """
        there = self._files(path)
        names = [path] if path.is_file() else sorted(_files_below(path))
        for file in sorted(names, key=lambda file: file.name == last):
            if file.name == but or (lacking and self._name(file) in there):
                continue
            with contextlib.suppress(FileNotFoundError):  # it was replaced or removed just now
                self._send(file, there.get(self._name(file)))
        if exact:
            kept = {self._name(file) for file in names}
            for name in there.keys() - kept:
                self.filesystem.delete_file(self._at(name))

    def push_as(self, file: Path, path: Path) -> None:
        """Brings a file to the place of another one, that of a path in the local folder.

        Raises:
            OSError: the place cannot be reached, or refuses.
        """
        self._send_as(file, self._name(path))

    def publish(self, path: Path, source: Path) -> None:
        """Brings a folder there that is never written again.

        Whoever obtains it has the files of one publication, however many are under way.

        Args:
            path: in the local folder, by which it is obtained.
            source: the folder that holds the files.

        Raises:
            OSError: the place cannot be reached, or refuses.
        """
        own = uuid.uuid4().hex
        for file in sorted(_files_below(source)):
            at = f"{self._name(path)}/{own}/{file.relative_to(source).as_posix()}"
            self._send_as(file, at, anew=True)
        self.write(path / _WHOLE, own.encode())

    def is_published(self, path: Path) -> bool:
        """Whether a folder can be obtained."""
        return self.read(path / _WHOLE) is not None

    def obtain(self, path: Path, into: Path) -> bool:
        """Brings a published folder here.

        Args:
            path: in the local folder, by which it was published.
            into: the folder for its files.

        Returns:
            Whether the place has it.

        Raises:
            OSError: the place cannot be reached, or refuses.
        """
        own = self.read(path / _WHOLE)
        return own is not None and self.pull(path / own.decode(), into=into)

    def pull(
        self,
        path: Path,
        *,
        into: Path | None = None,
        last: str = "",
        exact: bool = False,
        lacking: bool = False,
    ) -> bool:
        """Brings a file, or all files of a folder, from the place.

        Args:
            path: in the local folder.
            into: another local folder for the files of this one.
            last: as of `push`; where the place lacks it, nothing is brought.
            exact: removes what the local folder has more, but for names that begin with a dot.
            lacking: leaves what is here, whether or not it is the same.

        Returns:
            Whether the place has it.

        Raises:
            OSError: the place cannot be reached, or refuses.
        """
        there = self._files(path)
        if not there or (last and self._name(path / last) not in there):
            return False
        for name in sorted(there, key=lambda name: name.rpartition("/")[2] == last):
            file = self.local / name
            target = file if into is None else into / file.relative_to(path.absolute())
            if lacking and target.exists():
                continue
            self._fetch(name, target, there[name])
        if exact:
            for file in _files_below(path):
                if self._name(file) not in there:
                    file.unlink(missing_ok=True)
        return True

    def remove(self, path: Path) -> None:
        """Takes a file or a folder away from the place; the local one stays."""
        for name in self._files(path):
            self.filesystem.delete_file(self._at(name))

    def place_of(self, path: Path) -> str:
        """Where `filesystem` has a path of the local folder."""
        return self._at(self._name(path))

    def folders(self) -> list[str]:
        """Names of the folders at the top of the place."""
        from pyarrow.fs import FileSelector, FileType

        found = self.filesystem.get_file_info(FileSelector(self._root, allow_not_found=True))
        return sorted(each.base_name for each in found if each.type == FileType.Directory)

    def age_s(self, path: Path, now: Path) -> float | None:
        """Seconds between the last writing of two files of the place, by its own clock.

        Args:
            path: the older one, in the local folder; it need not be there.
            now: the newer one.

        Returns:
            None where the place lacks either.
        """
        times = [self._info(self._name(each)).mtime_ns for each in (path, now)]
        return None if None in times else (times[1] - times[0]) / 1e9

    def write(self, path: Path, content: bytes) -> None:
        """Puts a small file there that need not be here, its name with a dot or not."""
        self._store(self._name(path), lambda stream: stream.write(content))

    def read(self, path: Path) -> bytes | None:
        """What the place has by a path of the local folder; None where it has nothing."""
        try:
            with self.filesystem.open_input_stream(self._at(self._name(path))) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def check(self) -> None:
        """Finds whether files can be written, read and removed there.

        Raises:
            StorageError: they cannot, with the reason in a line.
        """
        probe = self.local / f".reached-{uuid.uuid4().hex}"
        try:
            self.write(probe, b"reached")
            found = self.read(probe)
            self.filesystem.delete_file(self._at(probe.name))
        except (OSError, NotImplementedError) as error:
            raise unreachable(self.address, error) from error
        if found != b"reached":
            raise StorageError(f"--storage {self.address} does not give back what is written there")

    def _files(self, path: Path) -> dict[str, FileInfo]:
        """What the place has of a file or a folder, by its name."""
        from pyarrow.fs import FileSelector, FileType

        at = self._at(self._name(path))
        info = self.filesystem.get_file_info(at)
        if info.type == FileType.File:
            return {self._name(path): info}
        chosen = FileSelector(at, recursive=True, allow_not_found=True)
        return {
            self._name_at(each.path): each
            for each in self.filesystem.get_file_info(chosen)
            if each.type == FileType.File and not stays(self._name_at(each.path))
        }

    def _info(self, name: str) -> FileInfo:
        return self.filesystem.get_file_info(self._at(name))

    def _send(self, file: Path, there: FileInfo | None) -> None:
        if file.suffix == ".db":
            with frozen(file) as copy:
                self._send_as(copy, self._name(file))
            return
        seen = file.stat()
        if there is not None and _same(seen, there):
            return
        name = self._name(file)
        self._send_as(file, name)
        info, now = self._info(name), file.stat()
        # one that was written anew in the meantime is sent again the next time
        if (now.st_mtime_ns, now.st_size) == (seen.st_mtime_ns, seen.st_size):
            os.utime(file, ns=(info.mtime_ns, info.mtime_ns))

    def _send_as(self, file: Path, name: str, *, anew: bool = False) -> None:
        anew = anew or file.stat().st_size > _MOST_MOVED
        with file.open("rb") as source:
            self._store(name, lambda stream: shutil.copyfileobj(source, stream, 2**20), anew=anew)

    def _store(self, name: str, fill: Callable[[Any], object], *, anew: bool = False) -> None:
        """Writes a file of the place: beside it and renamed, so that none is ever cut short.

        An object store replaces a file by one request, but one that fails on the way leaves an
        object of what it had; it is removed, and with it what was there before.

        Args:
            name: of the file.
            fill: writes it.
            anew: an object store may be written at once: nothing is lost by it, or it is large.
        """
        at = self._at(name)
        folder, _, own = at.rpartition("/")
        kind = self.filesystem.type_name
        # pyarrow renames nothing in an ordinary account of Azure's
        direct = kind == "abfs" or (anew and kind in _OBJECT_STORES)
        # processes of two nodes may have one number
        beside = at if direct else f"{folder}/.{own}.{uuid.uuid4().hex}"
        if self.filesystem.type_name not in _OBJECT_STORES:
            self.filesystem.create_dir(folder)
        try:
            with self.filesystem.open_output_stream(beside) as stream:
                fill(stream)
            if beside != at:
                self.filesystem.move(beside, at)
        except BaseException:
            with contextlib.suppress(OSError):
                self.filesystem.delete_file(beside)
            raise

    def _fetch(self, name: str, file: Path, there: FileInfo) -> None:
        with contextlib.suppress(FileNotFoundError):
            if _same(file.stat(), there):
                return
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as beside:
            with (
                self.filesystem.open_input_stream(self._at(name)) as stream,
                beside.open("wb") as target,
            ):
                shutil.copyfileobj(stream, target, 2**20)
            if beside.stat().st_size != there.size:
                raise OSError(f"{self.address}: {name} was cut short or replaced while it was read")
            os.utime(beside, ns=(there.mtime_ns, there.mtime_ns))
            if file.suffix == ".db":
                for ending in ("-journal", "-wal", "-shm"):
                    file.with_name(file.name + ending).unlink(missing_ok=True)

    def _name(self, path: Path) -> str:
        name = path.absolute().relative_to(self.local).as_posix()
        return "" if name == "." else name

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root

    def _name_at(self, at: str) -> str:
        return at.removeprefix(self._root).lstrip("/")


def working_copy(address: str) -> Mirror:
    """This node's folder for a storage behind an address: below `TMPDIR`, and this user's alone.

    Raises:
        StorageError: as `Mirror`; or the folder cannot be made, or is another user's.
    """
    copy = Mirror(_working_folder(address), address)
    for each in (copy, copy.below("cache")):
        each.mark()
    return copy


def _working_folder(address: str) -> Path:
    known = hashlib.sha256(_tidy(address).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"unlearn-{os.getuid()}-{known}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.lstat()
    except OSError as error:
        raise StorageError(f"{folder} cannot be made ({error.strerror}): set TMPDIR") from error
    if folder.is_symlink() or owner.st_uid != os.getuid():
        raise StorageError(f"{folder} is not this user's: set TMPDIR")
    return folder


def patiently(mirror: Mirror, work: Callable[[Mirror], T], *, waits: bool = True) -> T:
    """Does something with a place; where that does not answer, again for two minutes.

    Args:
        mirror: of the place.
        work: is given it.
        waits: else it is tried once.

    Raises:
        StorageError: it has not answered.
        OSError: a fault of this machine, such as a full disk.
    """
    until = time.monotonic() + (_PATIENCE_S if waits else -math.inf)
    while True:
        try:
            return work(mirror)
        except OSError as error:
            here = str(error.filename or "").startswith(str(mirror.local))
            if here or error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            if time.monotonic() > until:
                raise unreachable(mirror.address, error) from error
        time.sleep(_PAUSE_S)


def unreachable(address: str, error: Exception) -> StorageError:
    """That an address cannot be used, in a line with the remedy."""
    line = one_line(error, 240)
    remedy = "it must be there, and this user may write to it"
    if address.startswith("s3:"):
        remedy = (
            "the bucket must exist, and the environment say who asks: AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY, AWS_REGION"
        )
    return StorageError(f"--storage {address} cannot be used ({line}): {remedy}")


@functools.cache
def _opened(address: str) -> tuple[Any, str]:
    from pyarrow.fs import FileSystem

    try:
        filesystem, root = FileSystem.from_uri(address)
    except OSError as error:  # a bucket's region is asked for where the address does not say it
        raise unreachable(address, error) from error
    except (ValueError, NotImplementedError) as error:
        raise StorageError(
            f"--storage {address} is no address that pyarrow knows: {one_line(error)}"
        ) from None
    return filesystem, root.rstrip("/")


def _tidy(address: str) -> str:
    """An address as all spell it: two spellings of one place would be two copies."""
    place, question, query = address.partition("?")
    scheme, mark, rest = place.partition("://")
    return f"{scheme}{mark}{rest.rstrip('/') or rest}{question}{query}"


def _same(here: os.stat_result, there: FileInfo) -> bool:
    # a store tells of whole seconds where it is asked for one file
    return bool(here.st_size == there.size) and here.st_mtime_ns // 10**9 == there.mtime_ns // 10**9


def stays(name: str) -> bool:
    """Whether a file is of one machine alone, by its name: hidden, a half, or SQLite's own."""
    return name.endswith(_STAYING) or any(part.startswith(".") for part in name.split("/"))


def _files_below(folder: Path) -> Iterable[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and not stays(path.relative_to(folder).as_posix())
    ]


@contextlib.contextmanager
def frozen(database: Path) -> Iterator[Path]:
    """A copy of an SQLite file, made between two of its writers' transactions.

    Raises:
        OSError: it cannot be read, or the copy cannot be written.
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
