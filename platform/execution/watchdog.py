"""Watches the process that started it: one that gives no sign of life is killed.

Run as a file of its own, by `platform.execution.heartbeat`: it imports nothing of the project and
starts at once. Its arguments are the process's number, seconds, and a file to leave when it kills.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys

_TICK_S = 1.0


def watch(process: int, lost_after_s: float, left: str, signs: int = 0) -> None:
    """Reads signs of life until they end, or are missed for too long.

    Args:
        process: its parent's number.
        lost_after_s: seconds without a sign after which the parent is killed.
        left: the path of a file that is made before it is killed.
        signs: the file descriptor that each sign of life is a byte on; its end ends the watch.
    """
    silent_s = 0.0
    while silent_s < lost_after_s:
        # ticks are counted, not the clock: held up with its parent, as by Ctrl-Z, it misses none
        if select.select([signs], [], [], _TICK_S)[0]:
            if not os.read(signs, 4096):
                return
            silent_s = 0.0
        else:
            silent_s += _TICK_S
    if os.getppid() == process:
        with contextlib.suppress(OSError):  # a full disk saves nobody
            os.close(os.open(left, os.O_CREAT | os.O_WRONLY, 0o644))
        os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    watch(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
