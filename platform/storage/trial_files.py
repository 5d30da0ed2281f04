"""Finds which files of finished trials are gone or altered, by what their results list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.config.names import RESULT
from trainables.utils.hashing import read_sealed
from trainables.utils.local_files import Inventory, lost
from trainables.utils.text import first_few

_MOST_TRIALS, _MOST_FILES = 4, 3


def lost_files(folder: Path, result: Mapping[str, Any], *, read: bool = False) -> list[str]:
    """Returns what has become of the files that a finished trial no longer has, in words.

    Args:
        folder: the trial's.
        result: its `result.json`, whose `files` lists the others; earlier versions list none, and
            of their trials nothing is missed.
        read: compares digests, for which every file is read; else sizes alone.
    """
    listed: Inventory | None = result.get("files")
    if listed is None:
        return []
    faults = lost(folder, {RESULT: {}, **listed}, read=read)
    if read and not faults:
        try:
            read_sealed(folder / RESULT)
        except (OSError, ValueError) as error:
            faults = [f"{RESULT} is altered ({error})"]
    return faults


def describe_lost(trials: Mapping[str, Sequence[str]]) -> str:
    """Returns which files of which trials are gone or altered, in a line.

    Args:
        trials: what `lost_files` returned, by the name of the trial; not empty.
    """
    told = [f"{name} ({first_few(faults, _MOST_FILES)})" for name, faults in trials.items()]
    more = len(told) - _MOST_TRIALS
    return ", ".join(told[:_MOST_TRIALS]) + (f" and {more} more" if more > 0 else "")
