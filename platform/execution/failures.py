"""Names the causes of a failed trial, says what follows from each, and finds that of an error."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from platform.execution.cluster import StartError
from trainables.utils.addresses import StorageError
from trainables.utils.errors import NonFiniteError, UserError, is_disk_full
from trainables.utils.text import one_line
from trainables.utils.waiting import HeldError

_MOST_CHARACTERS = 500


class Cause(StrEnum):
    """Why a trial failed, by the word that its record, its row and the terminal say."""

    USER = "user"
    NON_FINITE = "non-finite"
    OUT_OF_MEMORY = "out of memory"
    WORKER_LOST = "worker lost"
    DISK = "disk"
    STORAGE = "storage"
    CRASH = "crash"


@dataclass(frozen=True)
class Consequence:
    """What a cause means, and what the scheduler does about it.

    Attributes:
        meaning: what has happened, in words.
        then: `fail` the trial, since another attempt would end in the same way; `retry` it, since
            another attempt may end well; `stop` the sweep, since every other trial would meet it.
    """

    meaning: str
    then: Literal["fail", "retry", "stop"]


CAUSES = {
    Cause.USER: Consequence("a mistake in data or options", "fail"),
    Cause.NON_FINITE: Consequence("a loss or a figure became NaN or infinite", "fail"),
    Cause.OUT_OF_MEMORY: Consequence("the memory of a GPU or of a node was used up", "retry"),
    Cause.WORKER_LOST: Consequence("a process of the trial died or gave no sign of life", "retry"),
    Cause.DISK: Consequence("a disk is full, or the driver cannot use the sweep's files", "stop"),
    Cause.STORAGE: Consequence("an address does not answer for two minutes", "stop"),
    Cause.CRASH: Consequence("any other error", "retry"),
}


# the libraries' own exceptions that stand for a cause: module, class, cause
_LIBRARY_ERRORS = (
    ("torch", "OutOfMemoryError", Cause.OUT_OF_MEMORY),
    ("ray.exceptions", "OutOfMemoryError", Cause.OUT_OF_MEMORY),
    ("ray.exceptions", "RayActorError", Cause.WORKER_LOST),
    ("ray.exceptions", "WorkerCrashedError", Cause.WORKER_LOST),
)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a trial failed.

    Attributes:
        cause: one of `CAUSES`.
        message: the error in a line.
    """

    cause: Cause
    message: str


def diagnose(error: BaseException) -> Failure:
    """Returns the cause of an exception, and the first line of its message."""
    inner = _innermost(error)
    line = (str(inner).splitlines() or [""])[0] or type(inner).__name__
    cause = _cause_of(inner)
    if cause is Cause.WORKER_LOST:
        line = "a process of the trial died"
    elif cause is Cause.CRASH:
        line = f"{type(inner).__name__}: {line}"
    return Failure(cause=cause, message=line[:_MOST_CHARACTERS])


def file_fault(error: BaseException) -> str:
    """Returns in a line why the driver cannot go on with a sweep's files, as an exception says it.

    A fault of a disk, of a mount or of another process that holds a file is nobody's mistake and
    may pass: the sweep stops, and goes on later.

    Args:
        error: the exception; what it came from is looked at too, where Ray has wrapped it.

    Returns:
        The line; empty for every other exception.
    """
    if is_disk_full(error):
        return "the disk is full: free some room"
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError | HeldError | StorageError):
            return one_line(found, _MOST_CHARACTERS)
        if isinstance(found, UserError | StartError):
            return ""  # these say themselves what has happened and what to do
        found = found.__cause__ or found.__context__
    return ""


def _cause_of(error: BaseException) -> Cause:
    if isinstance(error, NonFiniteError):
        return Cause.NON_FINITE
    if is_disk_full(error):
        return Cause.DISK
    if isinstance(error, StorageError):
        return Cause.STORAGE
    if isinstance(error, HeldError):  # whoever holds it may have gone by then
        return Cause.CRASH
    if isinstance(error, UserError):
        return Cause.USER
    if isinstance(error, MemoryError):
        return Cause.OUT_OF_MEMORY
    return _library_cause(error) or Cause.CRASH


def _library_cause(error: BaseException) -> Cause | None:
    """Returns the cause that a library's own class stands for, without importing the library.

    Whoever has raised the error has imported it; a driver that only reads a sweep never does.
    """
    for module, name, cause in _LIBRARY_ERRORS:
        loaded = sys.modules.get(module)
        if loaded is not None and isinstance(error, getattr(loaded, name)):
            return cause
    return None


def _innermost(error: BaseException) -> BaseException:
    """Returns what a worker raised, where Ray has wrapped it."""
    failures = getattr(error, "worker_failures", None)
    if failures:
        found = [_innermost(each) for each in failures.values()]
        # the other workers of the trial fail because one of them is lost
        lost = [each for each in found if _library_cause(each) is Cause.WORKER_LOST]
        return (lost or found)[0]
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException) and cause is not error:
        return _innermost(cause)
    return error
