"""Half an hour of chaos: sweeps that are struck by everything at once, and must end whole.

A storage in a bucket, an MLflow server, this node's folders on a small disk. At random moments the
driver, all that it started, or a trial's process is killed or stopped for a while, Ctrl-C is
pressed, the server or the store dies or hangs for a while, or the disk is full for a while. After
each end of the driver the sweep is resumed. A sweep that is whole is followed by another one.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.helpers.mlflow_server import Server
from tests.helpers.object_store import VARIABLES, ObjectStore
from tests.helpers.relay import Relay
from tests.helpers.sweeps import resumed, run, sweep, synced
from tests.reliability import whole
from tests.reliability.disk import filler, small_disk
from tests.reliability.figures import Figures
from tests.reliability.running import Running
from trainables.utils.object_store import Mirror

SETTINGS = ("method=original,ours", "unlearn.steps=60", "unlearn.eval_every=30")
# seconds between two strikes, and that a strike which ends lasts
_PAUSE_S = (8.0, 40.0)
_LASTS_S = (1.0, 30.0)
# a sweep that is no longer struck has ended by then, or never will
_CALM_S = 900.0
_GONE_WITHIN_S = 60.0
_STOPPED = 130


@dataclass
class _Place:
    """What a sweep stands on.

    Attributes:
        server: MLflow's.
        relay: all that is sent to the store goes through it.
        disk: holds this node's folders.
        address: the storage's.
    """

    server: Server
    relay: Relay
    disk: Path
    address: str

    def trial_processes(self) -> list[int]:
        """Returns the processes of trials under way."""
        found = []
        for sign in self.disk.glob("unlearn-*/*/trials/*/.alive-*"):
            with contextlib.suppress(OSError, ValueError):  # it ends just now, or begins
                found.append(int(json.loads(sign.read_text())["pid"]))
        return found


@dataclass
class _Chaos:
    """Strikes at random moments until the time is over, and takes back what does not last.

    Attributes:
        place: what is struck.
        chance: gives the moments and the strikes.
        until: `time.monotonic()` after which nothing is struck any more.
        count: strikes by their name.
        due: the next strike.
        ends: when each strike that lasts is taken back, by its name.
    """

    place: _Place
    chance: random.Random
    until: float
    count: Counter[str] = field(default_factory=Counter)
    due: float = 0.0
    ends: dict[str, tuple[float, Callable[[], object]]] = field(default_factory=dict)

    def look(self, running: Running) -> None:
        """Strikes what is due, and takes back what has lasted."""
        now = time.monotonic()
        for name in [name for name, (at, _) in self.ends.items() if now >= min(at, self.until)]:
            self.ends.pop(name)[1]()
        if self.due <= now < self.until:
            self.due = now + self.chance.uniform(*_PAUSE_S)
            # what ends the driver comes half as often, or no session would get to its trials
            weights = [1 if name in _ENDS_DRIVER else 2 for name in _STRIKES]
            (name,) = self.chance.choices(list(_STRIKES), weights)
            if name not in self.ends and not _excluded(name, self.ends):
                back = _STRIKES[name](self.place, running, self.chance)
                if back is not None:
                    self.count[name] += 1
                    self.ends[name] = (now + self.chance.uniform(*_LASTS_S), back)

    def calm(self) -> None:
        """Takes back all that still lasts."""
        while self.ends:
            self.ends.popitem()[1][1]()


def _excluded(name: str, lasting: dict[str, object]) -> bool:
    """Tells whether a strike meets a server or store that is already struck."""
    return any(name.split()[0] == other.split()[0] for other in lasting)


def _nothing() -> None:
    """Takes back a strike that cannot be taken back."""


def _signalled(
    number: signal.Signals, *, group: bool = False
) -> Callable[[_Place, Running, random.Random], Callable[[], object]]:
    def strike(place: _Place, running: Running, chance: random.Random) -> Callable[[], object]:
        with contextlib.suppress(ProcessLookupError):
            running.signal(number, group=group)
        return _nothing

    return strike


def _kill_all(place: _Place, running: Running, chance: random.Random) -> Callable[[], object]:
    # as a loss of power does: also what a process has started since it was looked at
    while there := running.processes():
        for pid in there:
            _send(pid, signal.SIGKILL)
        time.sleep(0.02)
    return _nothing


def _pause_driver(place: _Place, running: Running, chance: random.Random) -> Callable[[], object]:
    _send(running.pid, signal.SIGSTOP)
    return lambda: _send(running.pid, signal.SIGCONT)


def _trial(
    number: signal.Signals,
) -> Callable[[_Place, Running, random.Random], Callable[[], object] | None]:
    def strike(
        place: _Place, running: Running, chance: random.Random
    ) -> Callable[[], object] | None:
        there = sorted(set(place.trial_processes()) & set(running.processes()))
        if not there:
            return None
        _send(chance.choice(there), number)
        return _nothing

    return strike


def _kill_server(place: _Place, running: Running, chance: random.Random) -> Callable[[], object]:
    place.server.stop(signal.SIGKILL)
    return place.server.start


def _pause_server(place: _Place, running: Running, chance: random.Random) -> Callable[[], object]:
    place.server.pause(signal.SIGSTOP)
    return lambda: place.server.pause(signal.SIGCONT)


def _kill_store(place: _Place, running: Running, chance: random.Random) -> Callable[[], object]:
    place.relay.stop()
    return place.relay.start


def _pause_store(place: _Place, running: Running, chance: random.Random) -> Callable[[], object]:
    place.relay.pause(signal.SIGSTOP)
    return lambda: place.relay.pause(signal.SIGCONT)


def _fill_disk(place: _Place, running: Running, chance: random.Random) -> Callable[[], object]:
    stack = contextlib.ExitStack()
    stack.enter_context(filler(place.disk / "filler"))
    return stack.close


_STRIKES: dict[str, Callable[[_Place, Running, random.Random], Callable[[], object] | None]] = {
    "driver killed": _signalled(signal.SIGKILL),
    "driver stopped for a while": _pause_driver,
    "everything killed": _kill_all,
    "Ctrl-C": _signalled(signal.SIGINT, group=True),
    "SIGTERM": _signalled(signal.SIGTERM),
    "trial killed": _trial(signal.SIGKILL),
    "trial stopped for good": _trial(signal.SIGSTOP),
    "server killed": _kill_server,
    "server hangs": _pause_server,
    "store killed": _kill_store,
    "store hangs": _pause_store,
    "disk full": _fill_disk,
}


_ENDS_DRIVER = ("driver killed", "everything killed", "Ctrl-C", "SIGTERM")


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options to the command line."""
    parser.add_argument("--minutes", type=float, default=30.0, help="that strikes come")
    parser.add_argument("--search", type=int, default=24, help="search trials of each sweep")
    parser.add_argument("--size", type=int, default=1024, help="of the disk, MB")
    parser.add_argument("--seed", type=int, default=0)


def measure(options: argparse.Namespace) -> int:
    """Strikes sweeps; returns the exit status."""
    figures = Figures()
    if os.geteuid() != 0:
        print("mounting a small disk takes root: not measured")
        return 2
    os.environ.update(VARIABLES)
    with tempfile.TemporaryDirectory() as folder, _place(Path(folder), options.size) as place:
        chance = random.Random(options.seed)
        chaos = _Chaos(place, chance, time.monotonic() + 60 * options.minutes)
        number = ended = 0
        while time.monotonic() < chaos.until:
            ended += _sweep(figures, chaos, number, options.search)
            number += 1
        figures.tell(f"strikes: {dict(sorted(chaos.count.items()))}")
        figures.hold("sweeps that ended whole", ended, number)
    return figures.verdict()


@contextlib.contextmanager
def _place(folder: Path, size_mb: int) -> Iterator[_Place]:
    with contextlib.ExitStack() as stack:
        (folder / "server").mkdir()
        server, store = Server(folder / "server"), ObjectStore(folder)
        stack.callback(store.stop)
        stack.callback(server.stop, signal.SIGKILL)
        server.start()
        relay = Relay(store.port)
        stack.callback(relay.stop)
        relay.start()
        disk = stack.enter_context(small_disk(folder / "disk", size_mb))
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = str(disk)
        stack.callback(_restore, before)
        yield _Place(server, relay, disk, store.address("chaos", relay.port))


def _restore(before: str | None) -> None:
    if before is None:
        del os.environ["TMPDIR"]
    else:
        os.environ["TMPDIR"] = before


def _sweep(figures: Figures, chaos: _Chaos, number: int, search: int) -> bool:
    """Runs a sweep to its end over all strikes; tells whether it is whole."""
    place, name = chaos.place, f"sweep{number}"
    options = ["--name", name, "--no-reuse", "--tracking-uri", place.server.uri]
    # a seed of its own: none of its trials is another sweep's, which a resumed one would take over
    settings = (
        *SETTINGS,
        f"seed={number}",
        f"search.trials={search}",
        f"search.sobol_trials={search}",
    )
    begin = sweep(place.address, *settings, options=options)
    goes_on = resumed(place.address, name, "--tracking-uri", place.server.uri)
    command, again, sessions, left = begin, 0, Counter[int](), 0
    before: dict[str, str] = {}
    calm_until = chaos.until + _CALM_S
    while time.monotonic() < calm_until:
        struck = (chaos.count.total(), len(chaos.ends))
        with Running(command) as running:
            while not running.over and time.monotonic() < calm_until:
                chaos.look(running)
                time.sleep(0.05)
            status = running.end(60) if running.over else -1
            chaos.ends.pop("driver stopped for a while", None)
            left += _left(figures, running)
        sessions[status] += 1
        # a start that meets a server, a store or a disk that is away refuses
        _judge(figures, running.out, status, refuses=struck != (chaos.count.total(), 0))
        after = _results(place.disk, name)
        again += sum(after.get(trial) != digest for trial, digest in before.items())
        before = after
        if status == 0:
            break
        planned = any(place.disk.glob(f"unlearn-*/{name}/plan.json"))
        command = goes_on if planned else begin
        if status == 1:
            command = [*goes_on, "--retry-failed"]
    chaos.calm()
    # the server may have been away as the last session ended
    sync = [*synced(place.address, name), "--tracking-uri", place.server.uri]
    figures.hold("exit status of --sync", run(sync).status, 0)
    figures.tell(f"{name}: sessions by exit status {dict(sessions)}, {len(before)} trials")
    figures.hold("exit status of the last session", status, 0)
    figures.hold("finished trials run again", again, 0)
    figures.hold("processes left a minute after a session", left, 0)
    return _whole(figures, place, name)


def _left(figures: Figures, running: Running) -> int:
    """Counts the processes that outlive a session by a minute, and tells which they are."""
    left = running.processes_left(_GONE_WITHIN_S)
    for pid in left:
        with contextlib.suppress(OSError):  # it has just ended
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            figures.tell(f"left: {pid} {command[:200]}")
    return len(left)


def _results(disk: Path, name: str) -> dict[str, str]:
    """Returns the digest of each trial's result, which names its times, by the trial's name."""
    found = disk.glob(f"unlearn-*/{name}/trials/*/result.json")
    return {path.parent.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def _judge(figures: Figures, out: str, status: int, *, refuses: bool) -> None:
    """Counts a session that ended otherwise than it should: told with all that it printed."""
    # a signal before or after the block that answers it ends any program; Ray aborts as it starts
    if status == -signal.SIGABRT and "*** SIGTERM received" in out:
        status = -signal.SIGTERM
    usual = (
        0,
        1,
        _STOPPED,
        -signal.SIGKILL,
        -signal.SIGTERM,
        -signal.SIGINT,
        *([2] if refuses else []),
    )
    last = out.strip().splitlines()[-1:]
    figures.tell(f"status {status}: {last[0][:110] if last else ''}")
    if status not in usual or "Traceback" in out:
        figures.hold("session that ended without its cause", 1, 0)
        figures.tell(out[-6000:])


def _whole(figures: Figures, place: _Place, name: str) -> bool:
    """Tells what the sweep lacks at the storage's address, seen from another machine."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Mirror(Path(folder), place.address)
        copy.pull(Path(folder))
        wrong = whole.faults(Path(folder), name, place.server.folder / "mlflow.db")
        broken = whole.broken_files(Path(folder) / name)
    for title, found in (("faults of the sweep and its record", wrong), ("broken files", broken)):
        figures.hold(title, len(found), 0)
        for each in found[:10]:
            figures.tell(f"  {each}")
    return not wrong and not broken
