"""Says which sweep, code and data the numbers of a file come from, and hashes the files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from platform.storage.sweep_folder import Sweep
from trainables.utils.files import write_json


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where the numbers of a file come from.

    Attributes:
        sweep: the name of the sweep.
        commit: the commit of the code that ran it.
        data: the hashes of its images.
    """

    sweep: str
    commit: str
    data: tuple[str, ...]

    @property
    def line(self) -> str:
        """The same on one line, for people."""
        data = ", ".join(self.data) or "unknown"
        return f"Sweep {self.sweep}, commit {self.commit}, data {data}."


def provenance(sweep: Sweep) -> Provenance:
    """Returns the provenance of every file that is made of a sweep."""
    data = {row["data_hash"] for row in sweep.rows() if row["data_hash"]}
    commit = str(sweep.environment.get("git_commit") or "unknown")
    changed = " with changes" if sweep.environment.get("git_dirty") else ""
    return Provenance(sweep=sweep.name, commit=commit + changed, data=tuple(sorted(data)))


def write_provenance(path: Path, source: Provenance, files: Iterable[Path]) -> None:
    """Writes `provenance.json`: where the files come from, and the SHA-256 of each."""
    hashes = {
        each.relative_to(path.parent).as_posix(): hashlib.sha256(each.read_bytes()).hexdigest()
        for each in files
    }
    values = {**asdict(source), "files": dict(sorted(hashes.items()))}
    write_json(path, values)
