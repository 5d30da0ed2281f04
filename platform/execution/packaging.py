"""Packs the files that a cluster needs to run this program: its packages, and little beside."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from platform.storage.environment import COMMIT, ROOT, git_state

_PACKAGES = ("platform", "trainables", "search_spaces", "analysis")
# the bridge makes `platform.sweep` importable; the other two say with what it should run
_BESIDE = ("_platform_bridge.py", "_platform_bridge.pth", "pyproject.toml", "requirements.lock")


@contextlib.contextmanager
def packed(study_file: Path | None = None) -> Iterator[Path]:
    """Yields a folder with all that a node needs beside the dependencies; removes it afterwards.

    Args:
        study_file: the user's own study, copied to the top of the folder; None for none.
    """
    with tempfile.TemporaryDirectory(prefix="unlearn-") as temporary:
        folder = Path(temporary)
        for name in _PACKAGES:
            shutil.copytree(ROOT / name, folder / name, ignore=_leave_out)
        for name in _BESIDE:
            if (ROOT / name).is_file():
                shutil.copyfile(ROOT / name, folder / name)
        (folder / COMMIT).write_text(json.dumps(git_state()))
        if study_file is not None:
            shutil.copyfile(study_file, folder / study_file.name)
        yield folder


def _leave_out(folder: str, names: list[str]) -> set[str]:
    """Returns what Python, an editor or a system keeps beside the files of a package."""
    return {name for name in names if name.startswith(".") or name == "__pycache__"}
