"""Signs of life of trials: a process that stops giving them is killed, so that it can be replaced.

Ray sees a process that dies. One that is stopped, or stuck where no thread of it runs, holds its
place for ever; here a small process beside each of a trial's own kills it then. Being its child, it
is on the same machine and sure of whom it kills, on whichever node of a cluster that is.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from platform import warden

_BEAT_S = 2.0
# above what a loaded machine or one long call into a library holds a thread up
LOST_AFTER_S = 45.0
_ALIVE, _SILENT = ".alive-", ".silent-"


@contextlib.contextmanager
def signs_of_life(
    folder: Path, rank: int = 0, lost_after_s: float = LOST_AFTER_S
) -> Iterator[None]:
    """Gives them for the time of the block, from a thread of its own.

    Args:
        folder: of the trial, which exists.
        rank: of this process among those that share the trial.
        lost_after_s: seconds without a sign after which this process is killed.
    """
    alive = folder / f"{_ALIVE}{rank}"
    told = {"pid": os.getpid(), "host": socket.gethostname()}
    over = threading.Event()
    command = [sys.executable, "-I", "-S", str(Path(warden.__file__)), str(os.getpid())]
    silent = str(folder.absolute() / f"{_SILENT}{rank}")
    with subprocess.Popen([*command, str(lost_after_s), silent], stdin=subprocess.PIPE) as watching:
        assert watching.stdin is not None
        signs = watching.stdin.fileno()

        def beat() -> None:
            while not over.wait(_BEAT_S):
                with contextlib.suppress(BrokenPipeError):  # without a watch Ray's is left
                    os.write(signs, b".")

        with contextlib.suppress(OSError):  # a full disk is another's to tell
            alive.write_text(json.dumps(told))
        thread = threading.Thread(target=beat, name="signs of life", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            with contextlib.suppress(OSError):
                alive.unlink(missing_ok=True)


def fell_silent(folder: Path) -> bool:
    """Whether a process of a trial's last attempt was killed because it gave no sign of life."""
    return any(folder.glob(f"{_SILENT}*"))
