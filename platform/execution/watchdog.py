"""Watches the process that started it, and kills it once it gives no sign of life.

`platform.execution.heartbeat` runs it as a file of its own: it imports nothing of the project, and
so starts at once. Its arguments are those of `watch`.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys

_TICK_S = 1.0


def watch(process: int, lost_after_s: float, mark: str, signs: int = 0) -> None:
    """Reads signs of life until they end, or have not come for too long.

    Args:
        process: the number of the parent process.
        lost_after_s: seconds without a sign after which the parent is killed.
        mark: the path of a file that is made before the parent is killed.
        signs: the file descriptor on which each sign of life is a byte; its end ends the watch.
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
        with contextlib.suppress(OSError):  # a full disk does not save the parent
            os.close(os.open(mark, os.O_CREAT | os.O_WRONLY, 0o644))
        os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    watch(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
