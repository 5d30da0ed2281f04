"""Sweeps that are killed by -9 at random moments and resumed.

The long form of `tests/integration/test_killed_sweeps.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.sweeps import ROOT, descendants, resumed, sweep, times
from tests.reliability.figures import Figures

SETTINGS = ("method=original,ours", "search.trials=2")
TRIALS = 7
_EARLIEST_S = 4.0
# of the time that an undisturbed sweep takes: later ones are hit as it goes on
_SHARE = 0.45
_MOST_S = 600.0


@dataclasses.dataclass
class Verdict:
    """What went wrong in sweeps that were killed; all of it is wanted to be 0.

    Attributes:
        kills: that hit a running sweep.
        again: finished trials that ran once more.
        lost: trials that did not end finished.
        doubled: trials with two runs in MLflow.
        running: runs left RUNNING.
    """

    kills: int = 0
    again: int = 0
    lost: int = 0
    doubled: int = 0
    running: int = 0

    @property
    def faults(self) -> int:
        """All of them."""
        return self.again + self.lost + self.doubled + self.running


def killed_and_resumed(storage: Path, seed: int, kills: int, latest_s: float) -> Verdict:
    """Runs a tiny sweep to its end over some kills -9, of the driver alone or of all it started.

    Args:
        storage: of the sweep, where it is the only one.
        seed: of the moments, and of what is killed.
        kills: that many at most; a sweep may end before the next.
        latest_s: most seconds from a start to its kill.
    """
    chance = random.Random(seed)
    verdict = Verdict()
    command = _command(storage)
    before: dict[str, int] = {}
    for _ in range(kills):
        moment = chance.uniform(_EARLIEST_S, latest_s)
        whole = chance.random() < 0.5
        hit = _killed(command, moment, whole=whole)
        verdict.kills += hit
        verdict.again += _changed(before, times(storage / "a"))
        before = times(storage / "a")
        if (storage / "a" / "plan.json").exists():
            command = resumed(storage, "a")
        if not hit:  # a quick machine has ended it before
            break
    status = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=_MOST_S).returncode
    verdict.again += _changed(before, times(storage / "a"))
    verdict.lost = TRIALS - len(times(storage / "a")) + (status != 0)
    runs = _runs(storage)
    verdict.doubled = sum(count > 1 for count in Counter(key for key, _ in runs).values())
    verdict.running = sum(state == "RUNNING" for _, state in runs)
    return verdict


def _command(storage: Path) -> list[str]:
    return sweep(storage, *SETTINGS, options=["--name", "a"])


def _killed(command: Sequence[str], moment: float, *, whole: bool) -> bool:
    """Starts a sweep and kills it; whether it was still running by then.

    Args:
        command: of the sweep.
        moment: seconds after its start.
        whole: everything at once, as when the machine loses its power; else its driver alone.
    """
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=quiet) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moment)
            return False
        family = descendants(process.pid)
        process.kill()
        for each in family if whole else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
    until = time.monotonic() + 30
    while any(map(_lives, family)) and time.monotonic() < until:
        time.sleep(0.2)
    return True


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _changed(before: dict[str, int], after: dict[str, int]) -> int:
    return sum(after.get(name) != stamp for name, stamp in before.items())


def _runs(storage: Path) -> list[tuple[str, str]]:
    """(trial key, or the sweep's identity; status) of every run in the record."""
    with sqlite3.connect(storage / "mlflow.db") as database:
        return database.execute(
            "select tags.value, runs.status from runs join tags on tags.run_uuid = runs.run_uuid "
            "where tags.key in ('trial_key', 'sweep_id') and runs.lifecycle_stage = 'active'"
        ).fetchall()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--sweeps", type=int, default=20)
    parser.add_argument("--kills", type=int, default=3, help="of each sweep")
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> int:
    """Kills sweeps; returns the exit status."""
    figures, total = Figures(), Verdict()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(_command(Path(folder)), cwd=ROOT, capture_output=True, check=True)
    whole_s = time.monotonic() - began
    latest_s = max(_EARLIEST_S, _SHARE * whole_s)
    figures.tell(f"undisturbed, a sweep takes {whole_s:.0f} s: killed {latest_s:.0f} s in at most")
    hit = 0
    # one that was over before it was killed so often counts where it is at fault, no more
    for number in range(3 * options.sweeps):
        if hit == options.sweeps:
            break
        with tempfile.TemporaryDirectory() as folder:
            seed = options.seed + number
            found = killed_and_resumed(Path(folder), seed, options.kills, latest_s)
        hit += found.kills == options.kills
        for field in dataclasses.fields(Verdict):
            was = getattr(total, field.name)
            setattr(total, field.name, was + getattr(found, field.name))
        figures.tell(f"{hit} of {options.sweeps}: {found}")
    figures.tell(f"{total.kills} kills")
    figures.hold(f"sweeps killed {options.kills} times", hit, options.sweeps)
    figures.hold("finished trials run again", total.again, 0)
    figures.hold("trials lost", total.lost, 0)
    figures.hold("trials with two runs in MLflow", total.doubled, 0)
    figures.hold("runs left RUNNING", total.running, 0)
    return figures.verdict()
