"""Two sweeps at once in one storage: each has its own trials and record, and the other's none.

Every other pair is two equal sweeps, whose trials have the same keys; all build the shared work at
the same time.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.helpers.sweeps import PAIR, run, sweep
from tests.reliability import whole
from tests.reliability.figures import Figures

NAMES = ("left", "right")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--search", type=int, default=1, help="search trials of each sweep")


def measure(options: argparse.Namespace) -> int:
    """Runs pairs; returns the exit status."""
    figures = Figures()
    total = 0
    for number in range(options.times):
        with tempfile.TemporaryDirectory() as folder:
            found = crossed(Path(folder), options.search, equal=number % 2 == 0)
        total += len(found)
        kind = "equal" if number % 2 == 0 else "of two seeds"
        figures.tell(f"{number + 1} of {options.times}, {kind}: {len(found)} faults")
        for each in found[:10]:
            figures.tell(f"  {each}")
    figures.hold("trials, files and runs that are missing, doubled or the other's", total, 0)
    return figures.verdict()


def crossed(storage: Path, search: int, *, equal: bool) -> list[str]:
    """What is wrong after two sweeps ran at once; empty where nothing is.

    Args:
        storage: that they share, empty.
        search: trials of each.
        equal: of one seed, so that their trials' keys are the same.
    """
    seeds = (1, 1) if equal else (1, 2)
    commands = [
        sweep(
            storage,
            *(*PAIR, f"search.trials={search}", f"seed={seed}"),
            options=["--name", name, "--no-reuse"],
        )
        for name, seed in zip(NAMES, seeds, strict=True)
    ]
    with ThreadPoolExecutor(2) as executor:
        ended = list(executor.map(run, commands))
    found = [
        f"{name}: exit status {each.status}: {each.out}{each.err}"
        for name, each in zip(NAMES, ended, strict=True)
        if each.status
    ]
    for name in NAMES:
        if (storage / name / "results.parquet").exists():
            found += [f"{name}: {each}" for each in whole.faults(storage, name)]
    states = whole.states(storage / "mlflow.db")
    # a run a trial, and one a sweep: no other run is left behind
    wanted = 2 * (1 + 2 + search)
    if states != {"FINISHED": wanted}:
        found.append(f"record: {dict(states)}, not {wanted} FINISHED")
    return found
