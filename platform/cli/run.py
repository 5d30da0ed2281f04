"""Opens a sweep, new or resumed, and runs it; or brings its record in MLflow up to date."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import traceback
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

from filelock import FileLock

from platform.cli import messages
from platform.cli.claim import claimed
from platform.cli.requested_plan import SweepCall
from platform.cli.session import Phases, Session
from platform.cli.sweep_names import exists
from platform.execution import reuse
from platform.execution.failures import file_fault
from platform.plan.plan import Plan
from platform.plan.serialization import is_abandoned, write_plan
from platform.plan.validation import check_weights
from platform.search.ledger import Ledger
from platform.search.outstanding import find_lost
from platform.search.trial_queue import TrialQueue
from platform.storage import manifest
from platform.storage.address import PLAN
from platform.storage.environment import write_environment
from platform.storage.replica import Replica
from platform.tracking.recorder import Recorder
from trainables.config.names import RESULT
from trainables.data import Dataset
from trainables.utils.errors import FAILED, FINISHED, INTERRUPTED, UserError, is_disk_full
from trainables.utils.files import flush, make_folder
from trainables.utils.text import counted

_GRACE_S = 15.0


def run(call: SweepCall, stream: TextIO) -> int:
    """Runs a sweep to its end or to an interruption, records it and tells how it went.

    Args:
        call: the plan and the options.
        stream: where progress and table are written.

    Returns:
        The exit status: 0 all finished, 1 some failed, 130 interrupted.

    Raises:
        UserError: what the user gave cannot be run; a new sweep then leaves no folder.
        OSError: the files of a new sweep cannot be written; it leaves no folder.
        KeyboardInterrupt: a new sweep was stopped before it was planned; it leaves no folder.
    """
    phases = Phases("to start")
    resume, storage = call.request.resume, call.plan.storage
    make_folder(storage)
    session: Session | None = None

    def end_late() -> None:
        if session is not None:
            session.end_late()

    held = claimed(call)
    with _telling_of_full_disk(storage), held as (call, replica), answering_sigterm(end_late):
        try:
            session = _opened(call, replica, phases, stream)
            return session.drive()
        except (KeyboardInterrupt, Exception) as error:
            if how := _how_to_go_on(call, error):
                messages.tell(stream, how)
                return INTERRUPTED
            if session is not None and isinstance(error, UserError) and not resume:
                _remove_unstarted(session)
            raise


def _how_to_go_on(call: SweepCall, error: BaseException) -> list[str]:
    """Returns what a sweep that an error stops says last; nothing where it cannot go on."""
    # a new one is known by its plan
    if not (call.request.resume or exists(call.plan.folder / PLAN)):
        return []
    if isinstance(error, KeyboardInterrupt):
        return messages.to_go_on(call, "")
    reason = file_fault(error)
    if reason and call.request.debug:
        traceback.print_exception(error)
    return messages.to_go_on(call, reason) if reason else []


def _remove_unstarted(session: Session) -> None:
    """Removes a new sweep of which nothing has run."""
    plan = session.call.plan
    if session.queue.ledger.outstanding() == plan.total:
        shutil.rmtree(plan.folder, ignore_errors=True)
        session.replica.remove()


def sync(call: SweepCall, stream: TextIO) -> int:
    """Records in MLflow what a sweep's folder holds and its record lacks; starts nothing.

    Args:
        call: the plan and the options.
        stream: where a line tells what was done.

    Returns:
        The exit status: 0, or 1 where MLflow did not take all of it.

    Raises:
        UserError: the sweep runs, its folder is damaged, or MLflow cannot be used.
    """
    try:
        with _telling_of_full_disk(call.plan.storage), claimed(call) as (_, replica):
            return _synced(call, replica, stream)
    except OSError as error:
        messages.tell(stream, [f"error: {messages.not_synced(file_fault(error))}"])
        return FAILED


def _synced(call: SweepCall, replica: Replica, stream: TextIO) -> int:
    """Does what `sync` does, once no other process drives the sweep."""
    plan = call.plan
    replica.pull()
    ledger = Ledger.open(plan)
    recorder = _recorder(call)
    TrialQueue(ledger).recover()
    reuse.enter_lacking(plan, ledger.entries(), replica)
    count = _catch_up(plan, ledger, recorder)
    replica.begin()
    recorder.close("interrupted" if ledger.outstanding() else "finished")
    lacking = replica.push()
    missed = recorder.missed and f"; it has not taken {messages.describe_missed(recorder.missed)}"
    added = f"Sweep {plan.name}: {counted(count, 'trial')} added to the record in MLflow at "
    faults = [f"error: {each}" for each in (recorder.missed and recorder.fault, lacking) if each]
    messages.tell(stream, [f"{added}{recorder.shown_uri}{missed or ''}", *faults])
    return FAILED if recorder.missed or lacking else FINISHED


@contextlib.contextmanager
def answering_sigterm(late: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Makes SIGTERM stop the block as Ctrl-C does; ends the process where that takes too long.

    SIGTERM to a whole process group takes Ray down first, and its driver waits for it in vain.

    Args:
        late: called before the process ends, where the block has not ended within the grace.
    """

    def end() -> None:
        try:
            late()
        finally:
            os._exit(INTERRUPTED)

    timer = threading.Timer(_GRACE_S, end)
    timer.daemon = True

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not timer.is_alive():
            timer.start()
        # a script's background processes ignore Ctrl-C
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        timer.cancel()


@contextlib.contextmanager
def _telling_of_full_disk(storage: Path) -> Iterator[None]:
    """Turns an error of the block that says that a disk is full into a line with its remedy.

    Raises:
        UserError: the disk is full.
    """
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        raise UserError(
            f"the disk of {storage} is full: free some room, and give the same command again"
        ) from error


def _opened(call: SweepCall, replica: Replica, phases: Phases, stream: TextIO) -> Session:
    """Checks weights and images, opens ledger and record, and takes over what others have run."""
    plan, request = call.plan, call.request
    check_weights(plan)
    datasets = manifest.load_all(plan)
    if request.resume:
        replica.pull()
    with _folder(plan, resume=request.resume):
        line = f"Opening the ledger of {counted(len(plan.groups), 'group')} and the record ..."
        with messages.told_if_slow(stream, line):
            queue, recorder = _queue_and_recorder(call, datasets.values())
    if request.retry_failed and queue.retry_failed():
        queue.recover()  # one may have left its result before its process was lost
    if request.repair and (reading := messages.comparing(queue.ledger.entries())):
        messages.tell(stream, reading)
    broken = queue.repair() if request.repair else find_lost(plan, queue.ledger.entries())
    for trial, _ in broken if request.repair else ():
        replica.remove_file(trial, RESULT)  # else the next session pulls it, and takes it in
    taken = reuse.TakenOver()
    if not request.no_reuse:
        taken = reuse.take_over(plan, queue, datasets, replica)
    reuse.enter_lacking(plan, queue.ledger.entries(), replica)
    _catch_up(plan, queue.ledger, recorder)
    replica.begin()
    return Session(
        call=call,
        queue=queue,
        recorder=recorder,
        replica=replica,
        phases=phases,
        reused=len(taken.trials),
        stream=stream,
        notes=(
            *messages.lost_files({t.name: each for t, each in broken}, repaired=request.repair),
            *messages.not_reused(taken.lost),
        ),
    )


@contextlib.contextmanager
def _folder(plan: Plan, *, resume: bool) -> Iterator[None]:
    """Makes the folder of a new sweep; removes it again where the block fails."""
    if not resume:
        if is_abandoned(plan.folder):
            shutil.rmtree(plan.folder)
        plan.folder.mkdir()
        flush(plan.storage)
    try:
        yield
    except BaseException:
        if not resume:
            shutil.rmtree(plan.folder, ignore_errors=True)
        raise


def _queue_and_recorder(
    call: SweepCall, datasets: Collection[Dataset]
) -> tuple[TrialQueue, Recorder]:
    plan, resume = call.plan, call.request.resume
    if resume:
        ledger = Ledger.open(plan)
        manifest.refuse_others(plan, datasets)
    else:
        ledger = Ledger.create(plan)
        manifest.write_manifests(plan, datasets)
        # by it a sweep is known: whoever finds one finds all that it needs
        write_plan(plan)
    write_environment(plan.folder)
    recorder = _recorder(call)
    queue = TrialQueue(ledger)
    if resume:
        queue.recover()
    return queue, recorder


def _recorder(call: SweepCall) -> Recorder:
    with FileLock(call.plan.storage / ".mlflow.lock"):  # MLflow's first use of a file has no lock
        return Recorder(call.plan, call.request.tracking_uri)


def _catch_up(plan: Plan, ledger: Ledger, recorder: Recorder) -> int:
    """Records trials that ended before an earlier session was lost; returns how many."""
    before = {state: recorder.ended_before(state) for state in ("finished", "failed", "pruned")}
    count = 0
    for entry in ledger.entries():
        if entry.state == "interrupted" or entry.trial.key in before[entry.state]:
            continue
        if entry.state == "finished":
            recorder.finished(entry.trial, dict(entry.result))
        elif entry.state == "failed":
            recorder.failed(entry.trial, entry.cause, entry.message)
        else:
            recorder.pruned(entry.trial, entry.result["metrics"])
        count += 1
    return count
