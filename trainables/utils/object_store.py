"""A local folder and its copy behind an address, such as in a bucket of an object store.

An object store has neither locks nor renames, and no program writes into it in place. So each node
works in a folder of its own, and whole files are copied: what is finished there, and what another
node needs here.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.utils.addresses import StorageError, below, canonical, refuse_secret
from trainables.utils.files import consistent_copy, write_text
from trainables.utils.local_files import Stamp, files_below, is_same, stamp
from trainables.utils.remote_folder import RemoteFolder

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

_MARK = ".copy-of"
_TEMPORARY = "/tmp"  # where TMPDIR names no other
# names, inside a published folder, the one of its uploads that counts
_WHOLE = "whole"


class Mirror:
    """Copies files between a local folder and the folder behind an address.

    Files are compared by size and by the time that the remote one has, which the local one is then
    given too. Names that begin with a dot stay where they are. Every path is in the local folder,
    whether or not the file is there; its name relative to it is also the remote file's. The methods
    that copy, read or write raise an OSError where the address cannot be reached, or refuses.

    Args:
        local: the folder of this machine.
        address: any that pyarrow knows.

    Attributes:
        remote: the folder behind the address.

    Raises:
        StorageError: the address cannot be opened, or holds a secret.
    """

    def __init__(self, local: Path, address: str) -> None:
        refuse_secret(address)
        self.local = local.absolute()
        self.address = canonical(address)
        self.remote = RemoteFolder(self.address)

    def mark(self) -> None:
        """Lets `of` find this mirror by its local folder."""
        self.local.mkdir(parents=True, exist_ok=True)
        write_text(self.local / _MARK, self.address)

    @classmethod
    def of(cls, folder: Path) -> Mirror | None:
        """Returns the mirror of a marked folder; None of any other."""
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
    ) -> dict[Path, Stamp]:
        """Uploads a file, or all files of a folder; a database (`.db`) between two transactions.

        Args:
            path: of the file or folder.
            last: name of the file by which others know that all are there.
            exact: deletes the remote files of the folder that are not here.
            lacking: leaves the remote files that are there, whether or not they are the same.
            but: name of files that are left out.

        Returns:
            The stamps of the files that are there now as they are here.
        """
        there = self.remote.files(self.name(path))
        files, sent = files_below(path), dict[Path, Stamp]()
        for file in sorted(files, key=lambda file: file.name == last):
            if file.name == but or (lacking and self.name(file) in there):
                continue
            with contextlib.suppress(FileNotFoundError):  # it was replaced or removed just now
                sent[file] = self._send(file, there.get(self.name(file)))
        if exact:
            for name in there.keys() - {self.name(file) for file in files}:
                self.remote.delete(name)
        return sent

    def push_changed(self, path: Path, sent: dict[Path, Stamp]) -> None:
        """Uploads a file, or files of a folder, without a look at what is there.

        Args:
            path: of the file or folder.
            sent: stamps of files that need not be sent, from `push`; those sent now are added.
        """
        for file in files_below(path):
            with contextlib.suppress(FileNotFoundError):  # it was replaced or removed just now
                if sent.get(file) != stamp(file):
                    sent[file] = self._send(file, None)

    def push_as(self, file: Path, path: Path) -> None:
        """Uploads a file under the name of another one.

        Args:
            file: holds the content, anywhere.
            path: gives the name.
        """
        self.remote.upload(file, self.name(path))

    def pull(
        self,
        path: Path,
        *,
        into: Path | None = None,
        last: str = "",
        exact: bool = False,
        lacking: bool = False,
    ) -> bool:
        """Downloads a file, or all files of a folder.

        Args:
            path: of the file or folder.
            into: another local folder for the files of this one.
            last: as of `push`; nothing is downloaded where there is no remote file of this name.
            exact: removes the local files that are not there, but for names that begin with a dot.
            lacking: leaves the local files that are here, whether or not they are the same.

        Returns:
            Whether there is such a remote file or folder.
        """
        there = self.remote.files(self.name(path))
        if not there or (last and self.name(path / last) not in there):
            return False
        for name in sorted(there, key=lambda name: name.rpartition("/")[2] == last):
            file = self.local / name
            target = file if into is None else into / file.relative_to(path.absolute())
            if not (lacking and target.exists()):
                self._fetch(name, target, there[name])
        if exact:
            for file in files_below(path):
                if self.name(file) not in there:
                    file.unlink(missing_ok=True)
        return True

    def publish(self, path: Path, source: Path) -> None:
        """Uploads a folder that is never written again.

        Whoever obtains it has the files of one publication, however many are under way.

        Args:
            path: by which it is obtained.
            source: the folder that holds the files.
        """
        own = uuid.uuid4().hex
        for file in files_below(source):
            inside = file.relative_to(source).as_posix()
            self.remote.upload(file, f"{self.name(path)}/{own}/{inside}", anew=True)
        self.write(path / _WHOLE, own.encode())

    def is_published(self, path: Path) -> bool:
        """Tells whether a folder can be obtained."""
        return self.read(path / _WHOLE) is not None

    def obtain(self, path: Path, into: Path) -> bool:
        """Downloads a published folder.

        Args:
            path: by which it was published.
            into: the local folder for its files.

        Returns:
            Whether it was published.
        """
        own = self.read(path / _WHOLE)
        return own is not None and self.pull(path / own.decode(), into=into)

    def remove(self, path: Path) -> None:
        """Deletes a remote file or folder; the local one stays."""
        for name in self.remote.files(self.name(path)):
            self.remote.delete(name)

    def is_local(self, error: OSError) -> bool:
        """Tells whether a fault is of a file or of the disk here, and none of the address."""
        return error.errno in (errno.ENOSPC, errno.EDQUOT) or str(self.local) in str(error)

    def write(self, path: Path, content: bytes) -> None:
        """Writes a small remote file that need not be here, its name with a dot or not."""
        self.remote.write(self.name(path), content)

    def read(self, path: Path) -> bytes | None:
        """Returns the content of a remote file; None where there is none."""
        return self.remote.read(self.name(path))

    def age_s(self, path: Path, now: Path) -> float | None:
        """Returns the seconds between the last writing of two remote files, by the remote clock.

        Args:
            path: of the older one.
            now: of the newer one.

        Returns:
            None where there is no such file.
        """
        times = [self.remote.info(self.name(each)).mtime_ns for each in (path, now)]
        return None if None in times else (times[1] - times[0]) / 1e9

    def name(self, path: Path) -> str:
        """Returns the name of a path, by which `remote` has the file."""
        name = path.absolute().relative_to(self.local).as_posix()
        return "" if name == "." else name

    def _send(self, file: Path, there: FileInfo | None) -> Stamp:
        """Uploads a file unless it is there; returns its stamp, the old one if it has changed."""
        name, seen = self.name(file), stamp(file)
        if file.suffix == ".db":
            with consistent_copy(file) as copy:
                self.remote.upload(copy, name)
        elif there is None or not is_same(seen, there):
            self.remote.upload(file, name)
            info = self.remote.info(name)
            # one that was written anew in the meantime is sent again the next time
            if stamp(file) == seen:
                os.utime(file, ns=(info.mtime_ns, info.mtime_ns))
                seen = stamp(file)
        return seen

    def _fetch(self, name: str, file: Path, there: FileInfo) -> None:
        with contextlib.suppress(FileNotFoundError):
            if is_same(stamp(file), there):
                return
        self.remote.download(name, file, there)


def working_copy(address: str) -> Mirror:
    """Returns this node's mirror of an address: below `TMPDIR`, and this user's alone.

    Its folder and the cache in it are marked.

    Raises:
        StorageError: as `Mirror`; or the folder cannot be made, or is another user's.
    """
    copy = Mirror(_working_folder(address), address)
    copy.mark()
    Mirror(copy.local / "cache", below(copy.address, "cache")).mark()
    return copy


def _working_folder(address: str) -> Path:
    known = hashlib.sha256(canonical(address).encode()).hexdigest()[:12]
    # the same whatever happens: Python's own choice moves away from a disk that is full just now
    place = os.environ.get("TMPDIR") or _TEMPORARY
    folder = Path(place).absolute() / f"unlearn-{os.getuid()}-{known}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.lstat()
    except OSError as error:
        raise StorageError(f"{folder} cannot be made ({error.strerror}): set TMPDIR") from error
    if folder.is_symlink() or owner.st_uid != os.getuid():
        raise StorageError(f"{folder} is not this user's: set TMPDIR")
    return folder
