"""Sweeps stopped by Ctrl-C and by SIGTERM at random moments, each of which goes on.

Ctrl-C reaches every process of a terminal. SIGTERM is sent to the driver alone or, as by service
managers, to every process of its group.
"""

from __future__ import annotations

import argparse
import random
import signal
import tempfile
import time
from pathlib import Path

from tests.helpers.sweeps import resumed, run, sweep, times, with_cache_of
from tests.reliability import whole
from tests.reliability.figures import Figures
from tests.reliability.running import Running, lasting

SETTINGS = ("method=original,ours", "search.trials=4")
# of the time that an undisturbed sweep takes; the second signal meets one that was resumed
_EARLIEST, _LATEST = 0.02, 0.5


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
        usual_s = lasting(sweep(base, *SETTINGS, options=["--name", "a"]))
        figures.tell(f"undisturbed, a sweep takes {usual_s:.0f} s from its first line on")
        for number in range(options.times):
            storage = with_cache_of(base, Path(folder, f"{number}"))
            command = sweep(storage, *SETTINGS, options=["--name", "a"])
            for each in (signal.SIGINT, signal.SIGTERM):
                moment = usual_s * chance.uniform(_EARLIEST, _LATEST)
                group = each is signal.SIGINT or chance.random() < 0.5
                hit[each] += _stopped(figures, storage, command, each, moment, group=group)
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
    moment: float,
    *,
    group: bool,
) -> bool:
    """A sweep that is signalled some seconds after its first line; whether it still ran by then."""
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
