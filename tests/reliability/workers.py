"""Trials whose process is killed by -9, and trials whose process is stopped by SIGSTOP.

Each is retried from its snapshot, and must end as it does in an undisturbed sweep, bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from platform.execution.heartbeat import LOST_AFTER_S
from tests.helpers.sweeps import PAIR, run, sweep
from tests.reliability import whole
from tests.reliability.figures import Figures
from tests.reliability.running import Running
from trainables.utils.hashing import read_sealed

# found within this after a process's last sign of life, which it may have given just before
_FOUND_WITHIN_S = LOST_AFTER_S + 15.0
_LATEST_S = 3.0


@dataclass
class _Strikes:
    """Which trials of a sweep were struck, and when.

    Attributes:
        number: of the signal.
        at: `time.monotonic()` of each strike, by the trial's name.
        due: when a trial that has a snapshot is struck.
    """

    number: signal.Signals
    chance: random.Random
    most: int
    at: dict[str, float] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)

    def look(self, folder: Path) -> None:
        """Strikes what is due: some random time after a trial's first snapshot."""
        for snapshot in folder.glob("trials/*/snapshot.safetensors"):
            trial = snapshot.parent
            now = time.monotonic()
            due = self.due.setdefault(trial.name, now + self.chance.uniform(0.0, _LATEST_S))
            if trial.name not in self.at and len(self.at) < self.most and now >= due:
                self._strike(trial, now)

    def _strike(self, trial: Path, now: float) -> None:
        try:
            pid = json.loads((trial / ".alive-0").read_text())["pid"]
        except (OSError, ValueError):  # it ends just now, or begins
            return
        os.kill(pid, self.number)
        if (trial / "result.json").exists():
            # too late: the process may have gone on to another trial
            os.kill(pid, signal.SIGCONT)
        else:
            self.at[trial.name] = now


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--times", type=int, default=10, help="trials struck by each signal")
    parser.add_argument("--steps", type=int, default=300, help="of each trial's unlearning")
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> int:
    """Strikes trials; returns the exit status."""
    figures = Figures()
    steps = (f"unlearn.steps={options.steps}", f"unlearn.eval_every={options.steps // 2}")
    # one trial more than is struck: a strike may come too late
    search = (f"search.trials={options.times}", f"search.sobol_trials={options.times}")
    settings = (*PAIR, *steps, "unlearn.save_every=20", *search)
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder)
        command = sweep(storage, *settings, options=["--name", "undisturbed"])
        figures.hold("exit status of the undisturbed sweep", run(command).status, 0)
        for number in (signal.SIGKILL, signal.SIGSTOP):
            _struck(figures, storage, settings, number, options)
    return figures.verdict()


def _struck(
    figures: Figures,
    storage: Path,
    settings: tuple[str, ...],
    number: signal.Signals,
    options: argparse.Namespace,
) -> None:
    """A sweep of which some trials are struck; what came of them."""
    name, strikes = (
        number.name.lower(),
        _Strikes(number, random.Random(options.seed), options.times),
    )
    with Running(sweep(storage, *settings, options=["--name", name, "--no-reuse"])) as running:
        while not running.over:
            strikes.look(storage / name)
            time.sleep(0.01)
        status = running.end()
    figures.tell(f"{number.name}: {len(strikes.at)} trials struck")
    figures.hold("trials struck", len(strikes.at), options.times)
    figures.hold("exit status", status, 0)
    found = [running.when(f" {trial} stopped: worker lost: ") for trial in strikes.at]
    waited = [at - struck for at, struck in zip(found, strikes.at.values(), strict=True) if at]
    figures.hold("put back as lost", len(waited), options.times)
    if waited:
        figures.tell(f"found after {min(waited):.1f} to {max(waited):.1f} s")
        most = _FOUND_WITHIN_S if number is signal.SIGSTOP else 15.0
        figures.at_most("longest, s", max(waited), most)
    resumed = [read_sealed(_folder(storage, name, each) / "result.json") for each in strikes.at]
    told = sorted(result["resumed_from"] for result in resumed)
    figures.tell(f"steps that they went on from, of {options.steps}: {told}")
    figures.hold("retried from a snapshot", sum(step > 0 for step in told), options.times)
    equal = [_equal(storage, name, trial) for trial in strikes.at]
    figures.hold("equal to the undisturbed trial", sum(equal), options.times)
    figures.hold("faults of the sweep and its record", len(whole.faults(storage, name)), 0)


def _folder(storage: Path, name: str, trial: str) -> Path:
    return storage / name / "trials" / trial


def _equal(storage: Path, name: str, trial: str) -> bool:
    """Whether all that a trial found is what it found undisturbed: weights, pictures, figures."""
    one, other = (_folder(storage, each, trial) for each in ("undisturbed", name))
    files = [path.name for path in one.iterdir() if path.name != "result.json"]
    same = all((one / each).read_bytes() == (other / each).read_bytes() for each in files)
    first, second = (read_sealed(each / "result.json") for each in (one, other))
    for result in (first, second):
        for part in ("timing", "resumed_from"):
            del result[part]
    return same and first == second
