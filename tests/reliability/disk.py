"""Sweeps whose disk is filled up by something else at a random moment, and resumed.

And one that goes on, and is recorded, on a disk that has no room for all of it once more.

The disk is a tmpfs of its own, which only root can mount.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.sweeps import PAIR, resumed, run, sweep, synced, times, with_cache_of
from tests.reliability import whole
from tests.reliability.figures import Figures
from tests.reliability.running import Running, lasting

SETTINGS = ("method=original,ours", "search.trials=2")
# of the time that an undisturbed sweep takes
_EARLIEST, _LATEST = 0.02, 0.9
# of the smaller disk, and what it has left when the sweep goes on: two trials ask for 124 at first
_SMALL_MB, _LEFT_MB = 140, 90


def add_options(parser: argparse.ArgumentParser) -> None:
    """Of the command line."""
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--size", type=int, default=256, help="of the disk, MB")
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> int:
    """Fills disks; returns the exit status."""
    figures, chance = Figures(), random.Random(options.seed)
    if os.geteuid() != 0:
        print("mounting a small disk takes root: not measured")
        return 2
    hit = 0
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "base")
        usual_s = lasting(sweep(base, *SETTINGS, options=["--name", "a"]))
        figures.tell(f"undisturbed, a sweep takes {usual_s:.0f} s from its first line on")
        # a sweep that was over before its disk was full says nothing
        for _ in range(3 * options.times):
            if hit == options.times:
                break
            # half of them build the shared work themselves
            cached = chance.random() < 0.5
            with small_disk(Path(folder, "disk"), options.size) as place:
                storage = with_cache_of(base, place / "runs") if cached else place / "runs"
                hit += _filled(figures, storage, usual_s * chance.uniform(_EARLIEST, _LATEST))
        with small_disk(Path(folder, "disk"), _SMALL_MB) as place:
            _goes_on_in_the_rest(figures, place)
    figures.hold("disks filled up", hit, options.times)
    return figures.verdict()


def _goes_on_in_the_rest(figures: Figures, place: Path) -> None:
    """One of two trials, then the record and the other one in less room than both asked for."""
    storage = place / "runs"
    first = run(sweep(storage, *PAIR, options=["--name", "a", "--trials", "1"]))
    figures.hold("exit status of the first of two trials", first.status, 130)
    room = shutil.disk_usage(place).free - _LEFT_MB * 2**20
    (place / "filler").write_bytes(bytes(room))
    record = run(synced(storage, "a"))
    ended = run(resumed(storage, "a"))
    for name, call in (("--sync", record), ("--resume", ended)):
        figures.hold(f"exit status of {name} with {_LEFT_MB} MB left", call.status, 0)
        figures.tell(call.err.strip() or f"{name} has ended")


@contextlib.contextmanager
def small_disk(place: Path, size_mb: int) -> Iterator[Path]:
    """Mounts a tmpfs of some MB for the block's time; takes root."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(place)]
    subprocess.run(mount, check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
        place.rmdir()


def _filled(figures: Figures, storage: Path, moment: float) -> bool:
    """A sweep whose disk is filled up some seconds after its first line; whether that hit it."""
    command = sweep(storage, *SETTINGS, options=["--name", "a"])
    began = time.monotonic()
    with Running(command) as running:
        running.wait_for("Sweep a")
        time.sleep(moment)
        with filler(storage.parent / "filler"):
            status = running.end()
        left = running.processes_left()
    seconds = time.monotonic() - began
    told = [line.strip() for _, line in running.lines if "the disk is full" in line]
    ended = len(times(storage / "a"))
    figures.tell(f"full {moment:.1f} s after its first line: status {status}, {ended} ended")
    if status == 0:
        figures.tell("it was over by then")
        return False
    figures.tell(f"{told[-1] if told else running.out} ({seconds:.0f} s)")
    figures.hold("exit status", status, 130)
    figures.hold("says why and how to go on", _says_how(running.out), 1)
    figures.hold("tracebacks", running.out.count("Traceback"), 0)
    if "Traceback" in running.out:
        figures.tell(running.out)
    figures.hold("processes left", len(left), 0)
    _no_fault(figures, "corrupt files", whole.broken_files(storage))
    before = times(storage / "a")
    ended_again = run(resumed(storage, "a"))
    figures.hold("exit status of --resume", ended_again.status, 0)
    if ended_again.status:
        figures.tell(ended_again.out + ended_again.err)
    after = times(storage / "a")
    again = sum(after.get(name) != stamp for name, stamp in before.items())
    figures.hold("finished trials run again", again, 0)
    _no_fault(figures, "faults of the resumed sweep and its record", whole.faults(storage, "a"))
    _no_fault(figures, "corrupt files after it", whole.broken_files(storage))
    return True


def _says_how(out: str) -> bool:
    return "Stopped: the disk is full" in out and "--resume" in out


def _no_fault(figures: Figures, name: str, found: list[str]) -> None:
    figures.hold(name, len(found), 0)
    for each in found[:10]:
        figures.tell(f"  {each}")


@contextlib.contextmanager
def filler(path: Path) -> Iterator[None]:
    """A file that takes all the room there is, and all that becomes free, for the block's time."""
    over = threading.Event()

    def fill() -> None:
        with path.open("wb", buffering=0) as file:
            size = 1 << 20
            while not over.is_set():
                try:
                    file.write(b"\0" * size)
                except OSError:
                    size = max(size // 2, 1)
                    if size == 1:
                        over.wait(0.01)
                        size = 4096

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        path.unlink()
