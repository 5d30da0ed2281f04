"""Signals that stop a sweep, and the time that it is given to end."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from platform.cli.run import answering_sigterm
from tests.helpers.sweeps import ROOT


@contextlib.contextmanager
def interrupts_by(handler: Any) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_sigterm_interrupts_also_where_a_script_made_ctrl_c_ignored(handler: Any) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interrupts_by(handler), pytest.raises(KeyboardInterrupt), answering_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_is_ctrl_c_to_whoever_handles_it() -> None:
    told: list[int] = []
    with interrupts_by(lambda number, frame: told.append(number)), answering_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert told == [signal.SIGINT]


def test_a_sweep_that_sigterm_does_not_end_in_time_ends_all_the_same() -> None:
    code = """
import os, signal, time
from platform.cli import run
run._GRACE_S = 0.3
signal.signal(signal.SIGINT, lambda number, frame: None)  # as a driver that waits in vain
with run.answering_sigterm(lambda: print("late", flush=True)):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "late\n", "")
