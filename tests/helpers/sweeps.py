"""Real sweeps, tiny, in processes of their own: started, stopped, and looked at from outside."""

from __future__ import annotations

import dataclasses
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
TINY = (
    *(
        "model=mae_tiny",
        "pretrain.steps=10",
        "extractor.steps=10",
        "unlearn.steps=4",
        "unlearn.eval_every=2",
    ),
    *("data.train_per_class=64", "data.val_per_class=16", "data.test_per_class=16"),
    *("evaluation.tsne_points=10", "evaluation.grid_images=2"),
)
_PROGRAM = (sys.executable, "-m", "platform.sweep", "--no-report")
PAIR = ("method=original,ours", "retain_source=real", "search.trials=0")

See = Callable[["subprocess.Popen[str]", str], None]


@dataclasses.dataclass(frozen=True)
class Ended:
    """A call that is over.

    Attributes:
        status: its exit status.
        out: what it printed.
        err: what it printed as errors.
        processes: those that it started, its own among them.
    """

    status: int
    out: str
    err: str
    processes: frozenset[str]

    def processes_left(self, within_s: float = 30.0) -> set[str]:
        """Those of its processes that are still there after some seconds."""
        until = time.monotonic() + within_s
        while (left := self.processes & _present().keys()) and time.monotonic() < until:
            time.sleep(0.5)
        return set(left)


def sweep(storage: Path | str, *settings: str, options: Sequence[str] = ()) -> list[str]:
    """The command of a tiny sweep; of settings of one name the last counts."""
    named = {text.partition("=")[0]: text for text in (*TINY, *settings)}
    if named.get("method") == "method=original":  # it would not read them
        named = {name: text for name, text in named.items() if not name.startswith("unlearn.")}
    given = [part for text in named.values() for part in ("--set", text)]
    return [*_PROGRAM, "--storage", str(storage), *given, *options]


def resumed(storage: Path | str, name: str, *options: str) -> list[str]:
    """The command that goes on with a sweep."""
    return [*_PROGRAM, "--storage", str(storage), "--name", name, "--resume", *options]


def synced(storage: Path | str, name: str) -> list[str]:
    """The command that brings a sweep's record up to date."""
    return [*_PROGRAM[:-1], "--storage", str(storage), "--sync", name]


def run(command: Sequence[str]) -> Ended:
    """Runs a command to its end."""
    return watched(command, lambda process, line: None)


def watched(command: Sequence[str], see: See) -> Ended:
    """Runs a command and shows each line that it prints as it comes."""
    lines, seen = [], set[str]()
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                seen |= _family(process.pid)
                see(process, line)
        errors.seek(0)
        return Ended(process.returncode, "".join(lines), errors.read(), frozenset(seen))


def stopped(
    command: Sequence[str], at: str, number: signal.Signals, see: See | None = None
) -> Ended:
    """Runs a command until it prints a line with `at`, then signals it.

    Ctrl-C reaches every process of a terminal, SIGTERM the one that it is sent to.
    """

    def seen(process: subprocess.Popen[str], line: str) -> None:
        if see is not None:
            see(process, line)
        if at in line and not sent:
            sent.append(line)
            (os.killpg if number is signal.SIGINT else os.kill)(process.pid, number)

    sent: list[str] = []
    ended = watched(command, seen)
    assert sent, ended
    return ended


def printed(ended: Ended) -> list[str]:
    """The command by which a stopped sweep says that it goes on."""
    words = shlex.split(ended.out.rpartition("To go on:\n")[2])
    return [str(ROOT / words[0]) if "/" in words[0] else words[0], *words[1:]]


def with_cache_of(other: Path, storage: Path) -> Path:
    """A storage that holds nothing but another one's shared work."""
    shutil.copytree(other / "cache", storage / "cache")
    return storage


def ledger_states(folder: Path) -> set[str]:
    """States of the Optuna trials of a sweep's ledger."""
    with sqlite3.connect(folder / "ledger.db") as database:
        return {state for (state,) in database.execute("select state from trials")}


def times(folder: Path) -> dict[str, int]:
    """When each trial's result was written, in nanoseconds."""
    results = folder.glob("trials/*/result.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in results}


def descendants(pid: int) -> list[int]:
    """Numbers of the processes that descend from one."""
    numbers = [int(each.split()[0]) for each in _family(pid)]
    return [number for number in numbers if number != pid]


def _family(pid: int) -> set[str]:
    """A process and all that descend from it, each by its number and its start."""
    present = _present()
    numbers = {str(pid)}
    while grown := {each.split()[0] for each, parent in present.items() if parent in numbers}:
        if grown <= numbers:
            break
        numbers |= grown
    return {each for each in present if each.split()[0] in numbers}


def _present() -> dict[str, str]:
    """Every process, by its number and its start, with its parent's number; no zombies."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "ppid=,stat=,pid=,lstart="],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(maxsplit=2) for line in listed.stdout.splitlines()]
    return {each: parent for parent, state, each in rows if not state.startswith("Z")}
