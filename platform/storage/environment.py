"""What a sweep ran on: versions, hardware, commit. Read without importing what it describes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import platform
from platform.plan.hardware import inventory

DISTRIBUTION = "unlearning-platform"
COMMIT = "commit.json"  # in the place of .git, where the program was sent to
_ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, Any]:
    """The machine and the software, as plain values; None where a thing cannot be known here."""
    lock = _ROOT / "requirements.lock"
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _declared()},
        "os": platform.platform(),
        **inventory(),
        **git_state(),
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
    }


def git_state(root: Path = _ROOT) -> dict[str, Any]:
    """The commit of the checkout that this code runs from, and whether tracked files differ."""
    if (root / COMMIT).is_file():
        return dict(json.loads((root / COMMIT).read_text("utf-8")))
    commit = (
        _output("git", "-C", str(root), "rev-parse", "HEAD") if (root / ".git").exists() else ""
    )
    if not commit:
        return {"git_commit": None, "git_dirty": None}
    changed = _output("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_dirty": bool(changed)}


def _declared() -> list[str]:
    """Names of the declared dependencies, from the checkout or else from the installed package."""
    project = _ROOT / "pyproject.toml"
    if project.is_file():
        wanted = tomllib.loads(project.read_text("utf-8"))["project"]["dependencies"]
    else:
        try:
            wanted = importlib.metadata.requires(DISTRIBUTION) or []
        except importlib.metadata.PackageNotFoundError:  # sent by one who has it as a wheel
            wanted = []
    return sorted({re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in wanted})


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str:
    """What a command prints, or nothing where it is absent, fails or takes over 10 s."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=10, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return ""
    return done.stdout.strip()
