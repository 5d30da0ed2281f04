"""Says what a session of a sweep begins and ends with, and the commands that come next."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from platform.cli.requested_plan import SweepCall
from platform.plan import hardware, resources
from platform.plan.estimate import megabytes
from platform.plan.plan import Plan
from platform.storage.address import storage_option
from platform.storage.trial_files import describe_lost
from platform.tracking.client import without_password
from trainables.utils.text import counted

if TYPE_CHECKING:
    from platform.search.trial_record import Entry

# in a job's environment: the address that it was submitted to, by which it is submitted again
SUBMITTED_TO = "UNLEARN_SUBMITTED_TO"
_SLOW_S = 2.0


def tell(stream: TextIO, lines: Sequence[str]) -> None:
    """Writes lines to whoever reads them as they come."""
    stream.write("\n".join(lines) + "\n")
    stream.flush()


@contextlib.contextmanager
def told_if_slow(stream: TextIO, line: str) -> Iterator[None]:
    """Writes a line if the block has not ended after two seconds."""
    timer = threading.Timer(_SLOW_S, tell, (stream, [line]))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def opening(call: SweepCall, counts: Mapping[str, int], *, total: int, reused: int) -> list[str]:
    """Returns what a session begins with: the question, and how much there is to run, and where.

    Args:
        call: what is run.
        counts: trials by their state.
        total: trials of the sweep.
        reused: trials that were taken over from other sweeps.
    """
    plan, machines = call.plan, call.machines
    ended = counts["finished"] + counts["failed"] + counts["pruned"]
    done = f", {ended} of them done before" if ended else ""
    if reused:
        done += f" ({reused} by other sweeps of {storage_option(plan)}; --no-reuse runs them anew)"
    where = f" on {hardware.describe(*machines)}" if call.request.address is not None else ""
    at_once = f"{resources.concurrency(plan, *machines)} at once"
    return [
        f"Sweep {plan.name}: {plan.question}",
        f"{counted(total, 'trial')}{done}, {at_once}{where}, "
        f"in {storage_option(plan)}/{plan.name}/",
    ]


def record_lacks(
    call: SweepCall, missed: Mapping[str, int], shown_uri: str, fault: str
) -> list[str]:
    """Tells what MLflow lacks and why, and how it is brought there.

    Args:
        call: what was run.
        missed: how many events MLflow has not taken, by what they hold; not empty.
        shown_uri: the address of the record, without a password.
        fault: why, in a line; empty where MLflow was only slow.
    """
    return [
        f"MLflow at {shown_uri} has not taken {describe_missed(missed)} of the record; "
        f"everything is in {call.plan.folder}/.",
        *([f"Last fault: {fault}."] if fault else []),
        "This brings the record up to date:",
        f"  {sync_command(call.plan, call.request.tracking_uri)}",
    ]


def describe_missed(missed: Mapping[str, int]) -> str:
    """Returns how many events MLflow lacks, such as `3 events (metrics 2, status 1)`."""
    parts = ", ".join(f"{name} {number}" for name, number in missed.items())
    return f"{counted(sum(missed.values()), 'event')} ({parts})"


def interrupted(call: SweepCall, reason: str, *, outstanding: int, total: int) -> list[str]:
    """Tells why a sweep was stopped, and the command that goes on with it.

    Args:
        call: what was run.
        reason: why, in a line; empty for a signal.
        outstanding: trials that are left.
        total: trials of the sweep.
    """
    why = f"Stopped: {reason}. " if reason else "Interrupted: "
    request = call.request
    return [
        f"{why}{outstanding} of {counted(total, 'trial')} outstanding. To go on:",
        f"  {resume_command(call.plan, request.tracking_uri, request.address)}",
    ]


def comparing(entries: Iterable[Entry]) -> list[str]:
    """Tells what is read to find the files that were altered.

    Args:
        entries: how the trials of the sweep stand.
    """
    finished = [each.result.get("files", {}) for each in entries if each.state == "finished"]
    sizes = [known.get("bytes", 0) for listed in finished for known in listed.values()]
    if not sizes:
        return []
    return [
        f"Comparing the digests of {counted(len(sizes), 'file')} of "
        f"{counted(len(finished), 'finished trial')}, {megabytes(sum(sizes))} ..."
    ]


def lost_files(broken: Mapping[str, Sequence[str]], *, repaired: bool) -> list[str]:
    """Tells which finished trials have lost files, and what is done or can be done about it.

    Args:
        broken: what has become of the files, by the name of their trial.
        repaired: whether these trials are run again.
    """
    if not broken:
        return []
    what = f"{counted(len(broken), 'finished trial')}: {describe_lost(broken)}"
    if repaired:
        return [f"To be run again, as files are gone or altered, {what}."]
    return [f"Files are gone or altered of {what}; their figures stay, --repair runs them again."]


def not_reused(lost: Mapping[str, Sequence[str]]) -> list[str]:
    """Tells which trials of other sweeps are not taken over, as they have lost files.

    Args:
        lost: what has become of the files, by the folder of their trial in the storage.
    """
    if not lost:
        return []
    return [f"Not taken over, as files are gone or altered: {describe_lost(lost)}."]


def to_go_on(call: SweepCall, reason: str) -> list[str]:
    """Tells why a sweep stopped, and the command that goes on with it.

    Args:
        call: what was asked for.
        reason: why, in a line; empty for a signal.
    """
    why = f"Stopped: {reason}" if reason else "Interrupted"
    request = call.request
    command = resume_command(call.plan, request.tracking_uri, request.address)
    again = " --retry-failed" * request.retry_failed + " --repair" * request.repair
    return [f"{why}. To go on:", f"  {command}{again}"]


def not_synced(reason: str) -> str:
    """Tells in a line why a record could not be brought up to date, and what to do.

    Args:
        reason: why a file cannot be used, in a line.
    """
    return (
        f"{reason}: give the same command again once it can be used, such as when the process that "
        "holds it has ended"
    )


def commands(plan: Plan, tracking_uri: str, page: str) -> list[str]:
    """Returns the commands that look further into a sweep.

    Args:
        plan: the sweep.
        tracking_uri: the address of the record, without a password.
        page: the page of MLflow's user interface, from `#` on.
    """
    python = interpreter()
    storage = storage_option(plan)
    where = "" if storage == "runs" else f" --storage {shlex.quote(storage)}"
    analyses = {
        "report": "one page on all of it; --publish puts it into the record",
        "tables": "the paper's CSV files, Markdown, LaTeX",
        "samples": "the variants side by side on the same images",
        "tsne": "embeddings of forget and retain images",
        "ablation": "forget_alpha against retain and forget distance",
    }
    lines = [
        f"Everything is in {storage}/{plan.name}/ (results.parquet: a row a trial). "
        "To look further:"
    ]
    asked = [(f"{python} -m analysis.{n} {plan.name}{where}", text) for n, text in analyses.items()]
    if not tracking_uri.startswith("http"):
        uri = shlex.quote(_database(tracking_uri))
        asked.append((f"{python} -m mlflow ui --backend-store-uri {uri}", "the record, served at"))
    width = max(len(command) for command, _ in asked)
    lines += [f"  {command:<{width}}  # {text}" for command, text in asked]
    server = tracking_uri if tracking_uri.startswith("http") else "http://127.0.0.1:5000"
    return [*lines, f"  {server.rstrip('/')}/{page}"]


def _database(tracking_uri: str) -> str:
    """Returns the address of a database; of a file, by its path from the working folder."""
    scheme = "sqlite:///"
    if not tracking_uri.startswith(scheme):
        return tracking_uri
    return scheme + _relative(Path(tracking_uri.removeprefix(scheme)))


def resume_command(plan: Plan, tracking_uri: str | None, address: str | None = None) -> str:
    """Returns the command that goes on with an interrupted sweep.

    Args:
        plan: the sweep.
        tracking_uri: the address of an MLflow server, of which a password is left out; None for
            the storage's own record.
        address: the address of a Ray cluster, where the sweep runs on one.
    """
    where = ["--address", address] if address else []
    return _command(plan, tracking_uri, "--name", plan.name, "--resume", *where)


def sync_command(plan: Plan, tracking_uri: str | None) -> str:
    """Returns the command that brings the record up to date; see `resume_command`."""
    return _command(plan, tracking_uri, "--sync", plan.name)


def _command(plan: Plan, tracking_uri: str | None, *options: str) -> str:
    dashboard = os.environ.get(SUBMITTED_TO)
    if dashboard and "--address" in options:
        options = (*options[: options.index("--address")], "--address", dashboard)
        parts = ["python", "-m", "platform.submit", *options]
    else:
        parts = [interpreter(), "-m", "platform.sweep", *options]
    if storage_option(plan) != "runs":
        parts += ["--storage", storage_option(plan)]
    if tracking_uri:
        parts += ["--tracking-uri", without_password(tracking_uri)]
    return shlex.join(parts)


def interpreter() -> str:
    """Returns this Python as a user would type it."""
    found = shutil.which("python")
    if found and Path(found).parent == Path(sys.executable).parent:
        return "python"
    return _relative(Path(sys.executable))


def _relative(path: Path) -> str:
    """Returns a path from the working folder, where it lies below that."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
