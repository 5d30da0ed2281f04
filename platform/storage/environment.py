"""What a sweep runs on: versions, hardware, commit. Nothing that it describes is imported."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import platform
from platform.plan.hardware import inventory, output_of
from trainables.utils.files import write_json

DISTRIBUTION = "unlearning-platform"
COMMIT = "commit.json"  # stands for .git where the program was sent to a cluster
ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, Any]:
    """Returns the machine and the software as plain values; None where one cannot be known."""
    lock = ROOT / "requirements.lock"
    return {
        "python": platform.python_version(),
        "packages": {name: installed_version(name) for name in _declared()},
        "os": platform.platform(),
        **inventory(),
        **git_state(),
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
    }


def write_environment(folder: Path) -> Path:
    """Writes `environment.json` into a sweep's folder, whole; returns its path."""
    path = folder / "environment.json"
    write_json(path, environment())
    return path


def git_state(root: Path = ROOT) -> dict[str, Any]:
    """Returns the commit that this code runs from, and whether tracked files differ from it."""
    if (root / COMMIT).is_file():
        return dict(json.loads((root / COMMIT).read_text("utf-8")))
    commit = (
        output_of("git", "-C", str(root), "rev-parse", "HEAD") if (root / ".git").exists() else ""
    )
    if not commit:
        return {"git_commit": None, "git_dirty": None}
    changed = output_of("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_dirty": bool(changed)}


def _declared() -> list[str]:
    """Returns the names of the declared dependencies, by the checkout or the installed package."""
    project = ROOT / "pyproject.toml"
    if project.is_file():
        wanted = tomllib.loads(project.read_text("utf-8"))["project"]["dependencies"]
    else:
        try:
            wanted = importlib.metadata.requires(DISTRIBUTION) or []
        except importlib.metadata.PackageNotFoundError:  # sent from an installed wheel
            wanted = []
    return sorted({re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in wanted})


def installed_version(name: str) -> str | None:
    """Returns the version of an installed package; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
