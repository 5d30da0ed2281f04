"""Finds the storage of a call, and the names in it: sweeps that are there, names that are free."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from platform.cli.request import attempt
from platform.plan.serialization import is_abandoned, read_plan
from platform.plan.study_loader import NAME, NAMES, is_file
from platform.storage.address import open_storage
from trainables.utils.addresses import is_address
from trainables.utils.errors import UserError

_RESERVED = ("cache", "mlartifacts", "mlflow.db")  # what the storage holds besides sweeps


def find_storage(storage: str, faults: list[str]) -> str:
    """Returns the folder of a storage; for an address, the folder of this node that mirrors it.

    Args:
        storage: a path, or an address such as `s3://BUCKET/runs`.
        faults: a line is added where the storage cannot be reached or written to.
    """
    if is_address(storage):
        found = attempt(faults, lambda: open_storage(storage))
        storage = str(found or "runs")  # with which all other faults are found too
    faults += _storage_problems(Path(storage))
    return storage


def _storage_problems(storage: Path) -> list[str]:
    whole = storage.absolute()
    nearest = next(path for path in (whole, *whole.parents) if exists(path))
    if not nearest.is_dir():
        return [f"--storage {storage}: {nearest} is a file"]
    if not os.access(nearest, os.W_OK | os.X_OK):
        return [f"--storage {storage}: {nearest} is not writable"]
    return []


def name_problems(storage: Path, name: str) -> list[str]:
    """Returns a line where a new sweep cannot have this name."""
    if not NAME.fullmatch(name) or name in _RESERVED:
        reserved = " or ".join(_RESERVED)
        return [f"--name {name!r} is no name for a sweep: {NAMES}, and not {reserved}"]
    if is_in_use(storage / name):
        return [
            f"--name {name} is in use in {storage}: --resume goes on with it, "
            f"and {free_name(storage, name)} is free"
        ]
    return []


def free_name(storage: Path, name: str) -> str:
    """Returns the first of the `free_names`."""
    return next(free_names(storage, name))


def free_names(storage: Path, name: str) -> Iterator[str]:
    """Yields the name, then numbers behind it, without those in use: `a`, `a-2`, `a-3`.

    Another process may take one meanwhile: it is free for certain once its driver lock is held.
    """
    for number in itertools.count(1):
        numbered = name if number == 1 else f"{name}-{number}"
        if not is_in_use(storage / numbered):
            yield numbered


def is_in_use(path: Path) -> bool:
    """Reports whether no new sweep can have this folder."""
    return exists(path) and not is_abandoned(path)


def exists(path: Path) -> bool:
    """Tells whether something is at a path, as far as this user may know."""
    try:
        return path.exists()
    except OSError:
        return False


def sweep_names(storage: Path) -> list[str]:
    """Returns the names of the sweeps of a storage, sorted."""
    return sorted(path.parent.name for path in storage.glob("*/plan.json"))


def newest(storage: Path, study: str | None) -> str | None:
    """Returns the sweep that was planned last; None where there is none.

    Args:
        storage: the folder of sweeps.
        study: only sweeps of this study, by its name or file; None for those of all.
    """
    plans = sorted(storage.glob("*/plan.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in plans:
        try:
            recorded = read_plan(path.parent)
        except UserError:
            if study is None:  # the one that is meant, whatever ails it
                return path.parent.name
            continue
        if study in (None, recorded.study) or study_file(study) == recorded.study_file != "":
            return recorded.name
    return None


def study_file(study: str | None) -> str:
    """Returns the absolute path of a study that is a file of the user; empty for other studies."""
    return str(Path(study).absolute()) if study and is_file(study) else ""
