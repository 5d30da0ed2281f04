"""An MLflow server killed in mid-sweep and away for a minute; the same sweep without that.

The two take turns, each in a storage of its own that holds nothing but the shared work.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import tempfile
import time
from pathlib import Path

from tests.helpers.mlflow_server import Server
from tests.helpers.sweeps import PAIR, run, sweep, times, with_cache_of
from tests.reliability import whole
from tests.reliability.figures import Figures
from tests.reliability.running import Running

# killed once this many trials have ended
_TRIALS_BEFORE = 3


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--rounds", type=int, default=1, help="of both sweeps")
    parser.add_argument("--away", type=float, default=60.0, help="seconds")
    parser.add_argument("--search", type=int, default=24, help="search trials")
    parser.add_argument("--steps", type=int, default=400, help="of each trial's unlearning")
    parser.add_argument("--most", type=float, default=5.0, help="slowdown in percent")


def measure(options: argparse.Namespace) -> int:
    """Runs both sweeps some times; returns the exit status."""
    figures = Figures()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "base")
        ended = run(sweep(base, *PAIR, options=["--name", "a"]))
        figures.hold("exit status of the sweep that builds the shared work", ended.status, 0)
        for number in range(options.rounds):
            # neither is always the first
            for struck in (False, True) if number % 2 == 0 else (True, False):
                place = Path(folder, f"{number}-{struck}")
                place.mkdir()
                took = _one(figures, base, place, options, struck=struck)
                seconds[struck].append(took)
    usual, struck_s = (statistics.median(seconds[each]) for each in (False, True))
    figures.tell(f"medians: {usual:.1f} s undisturbed, {struck_s:.1f} s with the outage")
    figures.at_most("slowdown in percent", 100 * (struck_s / usual - 1), options.most)
    return figures.verdict()


def _one(
    figures: Figures, base: Path, folder: Path, options: argparse.Namespace, *, struck: bool
) -> float:
    """One sweep with a server of its own; its seconds from start to end."""
    server, storage = Server(folder), with_cache_of(base, folder / "runs")
    settings = (
        *(f"search.trials={options.search}", f"search.sobol_trials={options.search}"),
        *(f"unlearn.steps={options.steps}", f"unlearn.eval_every={options.steps // 4}"),
    )
    named = ["--name", "a", "--tracking-uri", server.uri]
    command = sweep(storage, *PAIR, *settings, options=named)
    server.start()
    try:
        began = time.monotonic()
        with Running(command) as running:
            if struck:
                _strike(figures, server, running, options.away)
            status = running.end()
        seconds = time.monotonic() - began
        ended = len(times(storage / "a"))
        name = "with the outage" if struck else "undisturbed"
        (told,) = [line for _, line in running.lines if line.startswith("Time: ")]
        figures.tell(f"{name}: {ended} trials in {seconds:.1f} s; {told.strip()}")
        figures.hold("exit status", status, 0)
        figures.hold("trials failed", options.search + 2 - ended, 0)
        wrong = whole.faults(storage, "a", folder / "mlflow.db")
        figures.hold("points and files lost, runs doubled or not FINISHED", len(wrong), 0)
        for each in wrong[:10]:
            figures.tell(f"  {each}")
    finally:
        server.stop()
    return seconds


def _strike(figures: Figures, server: Server, running: Running, away_s: float) -> None:
    running.wait_for(f"[{_TRIALS_BEFORE}/")
    before = _ended(running)
    gone = time.monotonic()
    server.stop(signal.SIGKILL)
    time.sleep(away_s)
    during = _ended(running) - before
    still = not running.over
    server.start()
    back = time.monotonic() - gone
    figures.tell(f"server killed, answered again after {back:.1f} s; {during} trials ended so far")
    figures.hold("sweeps that were over before the server was back", float(not still), 0)


def _ended(running: Running) -> int:
    return sum(line.startswith("[") for _, line in running.lines)
