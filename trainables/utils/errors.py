"""The errors that a caller can act on, and how they end a command of this project.

Each message is one line that names the thing and the remedy.
"""

import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence

from trainables.utils.text import one_line

FINISHED = 0
FAILED = 1
MISTAKE = 2
INTERRUPTED = 130
NO_READER = 141
_MOST_LINES = 4
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# safetensors and SQLite tell of a full disk in words alone
_NO_ROOM_IN_WORDS = re.compile(
    rf"os error ({'|'.join(map(str, _NO_ROOM))})\b|disk is full|No space left"
)


class UserError(Exception):
    """A mistake in what the user gave: a flag, a file, a class name. Exit status 2."""


class ConfigError(UserError):
    """One or more fields of a configuration are wrong.

    Attributes:
        problems: one line each, in the order of the fields.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[list[str]]]:
        return type(self), (self.problems,)


class DataError(UserError):
    """A data set that is missing, empty, or holds what it must not."""


class CheckpointError(UserError):
    """A weights file that is missing, truncated, foreign or hostile."""


class NonFiniteError(Exception):
    """A loss, a gradient or a metric became NaN or infinite: this trial fails, others go on."""


def is_disk_full(error: BaseException | None) -> bool:
    """Reports whether an exception, or one that it came from, says that a disk is full."""
    if error is None:
        return False
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return True
    if _NO_ROOM_IN_WORDS.search(str(error)):
        return True
    return is_disk_full(error.__cause__ or error.__context__)


def exit_status(
    command: Callable[[], int],
    *,
    debug: bool = False,
    interrupted: str = "interrupted",
    mistakes: tuple[type[Exception], ...] = (),
) -> int:
    """Runs a command and shows what it raises on standard error, without a traceback.

    Args:
        command: does the work and returns its own exit status.
        debug: show the traceback before the lines.
        interrupted: the line for a command that Ctrl-C ends.
        mistakes: further errors that the user can mend, besides `UserError`.

    Returns:
        The command's own status; 1 for a fault of the program, 2 for a mistake of the user or a
        full disk, 130 for Ctrl-C, 141 where whoever read the output has gone.
    """
    try:
        return command()
    except KeyboardInterrupt:
        sys.stderr.write(f"{interrupted}\n")
        return INTERRUPTED
    except BrokenPipeError:
        # such as head; Python would fail on the closed pipe once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except Exception as error:
        if debug:
            traceback.print_exc()
        mistake = isinstance(error, (UserError, *mistakes))
        if not mistake and is_disk_full(error):
            error, mistake = UserError(_full(error)), True
        shown = f"{type(error).__name__}: {error} (--debug shows where)"
        for line in fault_lines(getattr(error, "problems", [str(error) if mistake else shown])):
            sys.stderr.write(f"error: {line}\n")
        return MISTAKE if mistake else FAILED


def _full(error: Exception) -> str:
    """Says in a line which disk is full, as far as the error names a file of it."""
    name = getattr(error, "filename", None)
    where = f" that holds {name}" if isinstance(name, str) else ""
    return f"the disk{where} is full: free some room, and give the same command again"


def fault_lines(problems: Sequence[str]) -> list[str]:
    """Returns each fault on one line, in at most four lines: the fourth joins all that are left."""
    lines = [one_line(text, None) for text in problems]
    first, rest = lines[: _MOST_LINES - 1], lines[_MOST_LINES - 1 :]
    return [*first, "; ".join(rest)] if rest else first
