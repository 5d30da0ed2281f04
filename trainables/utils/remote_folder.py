"""The folder behind an address, such as in a bucket of an object store; files go by their names.

A name is a path relative to the folder, with slashes between its parts; the folder's own is empty.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.utils.addresses import StorageError, open_address, unreachable
from trainables.utils.files import SIDE_FILES, flush, make_folder, replacing
from trainables.utils.local_files import stays

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

# they have no folders that a file's would have to be made first
_OBJECT_STORES = ("s3", "gcs", "abfs")
# a store may copy for longer than a request may be silent
_MOST_MOVED = 64 * 2**20


class RemoteFolder:
    """Lists, reads, writes and deletes the files behind an address.

    Args:
        address: of the folder, as of `open_address`.

    Attributes:
        filesystem: pyarrow's.

    Raises:
        StorageError: as `open_address`.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.filesystem, self._root = open_address(address)

    def path(self, name: str) -> str:
        """Returns the path that `filesystem` has for a name."""
        return f"{self._root}/{name}" if name else self._root

    def info(self, name: str) -> FileInfo:
        """Returns what is known of a file; size and time are None where there is none."""
        return self.filesystem.get_file_info(self.path(name))

    def files(self, name: str) -> dict[str, FileInfo]:
        """Returns the file of this name, or all files of the folder that are not `stays`, by name.

        Raises:
            OSError: the address cannot be reached, or refuses; so of all methods.
        """
        from pyarrow.fs import FileSelector, FileType

        found = self.info(name)
        if found.type == FileType.File:
            return {name: found}
        chosen = FileSelector(self.path(name), recursive=True, allow_not_found=True)
        listed = {
            each.path.removeprefix(self._root).lstrip("/"): each
            for each in self.filesystem.get_file_info(chosen)
            if each.type == FileType.File
        }
        return {name: each for name, each in listed.items() if not stays(name)}

    def folders(self) -> list[str]:
        """Returns the names of the folders at the top, sorted."""
        from pyarrow.fs import FileSelector, FileType

        found = self.filesystem.get_file_info(FileSelector(self._root, allow_not_found=True))
        return sorted(each.base_name for each in found if each.type == FileType.Directory)

    def delete(self, name: str) -> None:
        """Deletes a file."""
        self.filesystem.delete_file(self.path(name))

    def read(self, name: str) -> bytes | None:
        """Returns the content of a small file; None where there is none."""
        try:
            with self.filesystem.open_input_stream(self.path(name)) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Writes a small file, whole."""
        self._write(name, lambda stream: stream.write(content))

    def upload(self, file: Path, name: str, *, anew: bool = False) -> None:
        """Writes a local file, whole.

        Args:
            file: the local one.
            name: to write it by.
            anew: there is no file of this name that a failure could lose.
        """
        anew = anew or file.stat().st_size > _MOST_MOVED
        with file.open("rb") as source:
            self._write(name, lambda stream: shutil.copyfileobj(source, stream, 2**20), anew=anew)

    def download(self, name: str, file: Path, seen: FileInfo) -> None:
        """Writes a local file, whole, with the time that the remote one has.

        Args:
            name: of the remote file.
            file: the local one.
            seen: what is known of the remote one.

        Raises:
            OSError: also where its size is not as it was seen.
        """
        make_folder(file.parent)
        with replacing(file) as beside:
            with (
                self.filesystem.open_input_stream(self.path(name)) as stream,
                beside.open("wb") as target,
            ):
                shutil.copyfileobj(stream, target, 2**20)
            if beside.stat().st_size != seen.size:
                raise OSError(f"{self.address}: {name} was cut short or replaced while it was read")
            os.utime(beside, ns=(seen.mtime_ns, seen.mtime_ns))
            if file.suffix == ".db":
                for ending in SIDE_FILES:
                    file.with_name(file.name + ending).unlink(missing_ok=True)

    def check(self) -> None:
        """Finds out whether files can be written, read and deleted.

        Raises:
            StorageError: they cannot, with the reason in a line.
        """
        probe = f".reached-{uuid.uuid4().hex}"
        try:
            self.write(probe, b"reached")
            found = self.read(probe)
            self.delete(probe)
        except (OSError, NotImplementedError) as error:
            raise unreachable(self.address, error) from error
        if found != b"reached":
            raise StorageError(f"--storage {self.address} does not give back what is written there")

    def _write(self, name: str, fill: Callable[[Any], object], *, anew: bool = False) -> None:
        """Writes a file under another name and renames it, so that none is ever cut short.

        An object store replaces a file by one request, but a request that fails on the way leaves
        an object of what had arrived; it is deleted, and with it what was there before.

        Args:
            name: of the file.
            fill: writes the content.
            anew: an object store may be written at once: nothing is lost by it, or it is large.
        """
        at = self.path(name)
        folder, _, own = at.rpartition("/")
        kind = self.filesystem.type_name
        # pyarrow renames nothing in an ordinary account of Azure's
        direct = kind == "abfs" or (anew and kind in _OBJECT_STORES)
        beside = at if direct else f"{folder}/.{own}.{uuid.uuid4().hex}"
        if kind == "local":
            make_folder(Path(folder))
        elif kind not in _OBJECT_STORES:
            self.filesystem.create_dir(folder)
        try:
            with self.filesystem.open_output_stream(beside) as stream:
                fill(stream)
            if kind == "local":
                flush(Path(beside))
            if beside != at:
                self.filesystem.move(beside, at)
            if kind == "local":
                flush(Path(folder))
        except BaseException:
            with contextlib.suppress(OSError):
                self.filesystem.delete_file(beside)
            raise
