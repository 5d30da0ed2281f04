"""A sweep under way, watched line by line from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.sweeps import ROOT

_MARK = "RELIABILITY_MARK"


class Running:
    """A command in a process group of its own; leaving the block kills what is left of it.

    Args:
        command: whose output and errors are read together.

    Attributes:
        lines: that it has printed, each with the `time.monotonic()` at which it came.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.lines: list[tuple[float, str]] = []
        self._mark = uuid.uuid4().hex
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, _MARK: self._mark},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *raised: object) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        """The number of its first process."""
        return self._process.pid

    @property
    def out(self) -> str:
        """All that it has printed."""
        return "".join(line for _, line in self.lines)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def when(self, *texts: str) -> float | None:
        """When the first line came that holds all of the texts."""
        found = (at for at, line in list(self.lines) if all(text in line for text in texts))
        return next(found, None)

    def wait_for(self, *texts: str) -> bool:
        """Waits for a line that holds all of the texts, or the end; whether it came."""
        while self.when(*texts) is None and not self.over:
            time.sleep(0.02)
        return self.when(*texts) is not None

    def signal(self, number: signal.Signals, *, group: bool) -> None:
        """Signals its first process, or every process of its group as a terminal does."""
        (os.killpg if group else os.kill)(self._process.pid, number)

    def end(self, most_s: float = 1800.0) -> int:
        """Waits for its end; returns its exit status."""
        status = self._process.wait(most_s)
        self._reader.join(5)
        return status

    def processes(self) -> list[int]:
        """All that it started and that still run, whoever their parents are now."""
        mark = f"{_MARK}={self._mark}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                # a zombie's environment is empty
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found

    def processes_left(self, within_s: float = 30.0) -> list[int]:
        """Those that are still there after some seconds."""
        until = time.monotonic() + within_s
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.5)
        return left

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append((time.monotonic(), line))


def lasting(command: Sequence[str]) -> float:
    """Runs a sweep to its end; its seconds from its first line on, by which a machine is known.

    Raises:
        RuntimeError: it failed.
    """
    with Running(command) as running:
        status = running.end()
        over = time.monotonic()
    if status:
        raise RuntimeError(running.out)
    return over - (running.when("Sweep ") or over)
