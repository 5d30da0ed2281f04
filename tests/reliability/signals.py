"""Sweeps stopped by Ctrl-C and by SIGTERM at random moments, each of which goes on.

SIGTERM is sent to the driver alone or, as by service managers, to every process of its group.
"""

from __future__ import annotations

import argparse
import random
import signal
import tempfile
import time
from pathlib import Path

from tests.reliability import whole
from tests.reliability.figures import Figures
from tests.reliability.running import Running
from tests.sweeps import resumed, run, sweep, times, with_cache_of

SETTINGS = ("method=original,ours", "search.trials=4")
_EARLIEST_S, _LATEST_S = 1.0, 35.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--times", type=int, default=5, help="of each signal")
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> int:
    """Stops sweeps; returns the exit status."""
    figures, chance = Figures(), random.Random(options.seed)
    hit = dict.fromkeys((signal.SIGINT, signal.SIGTERM), 0)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "base")
        ended = run(sweep(base, *SETTINGS, options=["--name", "a"]))
        figures.hold("exit status of the sweep that builds the shared work", ended.status, 0)
        for number in range(options.times):
            storage = with_cache_of(base, Path(folder, f"{number}"))
            command = sweep(storage, *SETTINGS, options=["--name", "a"])
            for each in (signal.SIGINT, signal.SIGTERM):
                hit[each] += _stopped(figures, storage, command, each, chance)
                command = resumed(storage, "a")
            before = times(storage / "a")
            figures.hold("exit status of --resume", run(command).status, 0)
            after = times(storage / "a")
            again = sum(after.get(name) != stamp for name, stamp in before.items())
            figures.hold("finished trials run again", again, 0)
            wrong = whole.faults(storage, "a")
            figures.hold("faults of the sweep and its record", len(wrong), 0)
            for line in wrong[:10]:
                figures.tell(f"  {line}")
    for each, count in hit.items():
        figures.hold(f"sweeps stopped by {each.name}", count, options.times)
    return figures.verdict()


def _stopped(
    figures: Figures,
    storage: Path,
    command: list[str],
    number: signal.Signals,
    chance: random.Random,
) -> bool:
    """A sweep that is signalled at a random moment; whether it was still running by then."""
    moment, group = chance.uniform(_EARLIEST_S, _LATEST_S), chance.random() < 0.5
    # a terminal signals all that runs in it
    group = group or number is signal.SIGINT
    with Running(command) as running:
        running.wait_for("Sweep a")
        time.sleep(moment)
        if running.over:
            figures.tell(f"{number.name}: the sweep was over by then")
            return False
        count, sent = len(running.processes()), time.monotonic()
        running.signal(number, group=group)
        status = running.end(120)
        took = time.monotonic() - sent
        left = running.processes_left()
        gone = time.monotonic() - sent
    whom = "every process of its group" if group else "the driver"
    figures.tell(
        f"{number.name} to {whom} {moment:.1f} s after its first line: ended after {took:.1f} s, "
        f"all {count} processes gone after {gone:.1f} s, {len(times(storage / 'a'))} trials done"
    )
    figures.hold("exit status", status, 130)
    figures.hold("processes left after 30 s", len(left), 0)
    figures.hold("says how to go on", "To go on:" in running.out, 1)
    figures.hold("runs left RUNNING", whole.states(storage / "mlflow.db")["RUNNING"], 0)
    if status != 130 or "Traceback" in running.out:
        figures.tell(running.out)
    return True
