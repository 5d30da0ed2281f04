"""Says what of a recorded sweep is to be run: what has not ended, and what has lost its files."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from platform.plan.plan import Outstanding, Plan, PlannedTrial
from platform.search.ledger import FILE, Ledger
from platform.search.trial_record import Entry
from platform.storage.trial_files import lost_files
from trainables.config.names import RESULT
from trainables.utils.files import consistent_copy


def read_outstanding(
    plan: Plan, *, retry_failed: bool = False, repair: bool = False
) -> Outstanding:
    """Returns what a recorded sweep still has to run; reads a copy, so that nothing is written.

    Args:
        plan: the sweep.
        retry_failed: counts its failed trials among them.
        repair: counts its finished trials among them that have lost files.

    Raises:
        OSError: there is no ledger, or it cannot be read.
        LedgerError: it is damaged, or another plan's.
    """
    with consistent_copy(plan.folder / FILE) as copy:
        there = dataclasses.replace(plan, storage=copy.parents[1], name=copy.parent.name)
        ledger = Ledger.open(there)
        if retry_failed:
            ledger.reopen_failed()
    # what has left its result is taken in without being run
    left = [t for t in ledger.open_trials() if not (plan.trial_folder(t) / RESULT).is_file()]
    if repair:
        left += [trial for trial, _ in find_lost(plan, ledger.entries())]
    return Outstanding(
        trials=tuple(left),
        later=ledger.unproposed(),
        # it is all built before the first trial starts
        shared=ledger.outstanding() == ledger.total() or not plan.cache.is_dir(),
    )


def find_lost(
    plan: Plan, entries: Iterable[Entry], *, read: bool = False
) -> list[tuple[PlannedTrial, list[str]]]:
    """Returns the finished trials that have lost files, each with what has become of these.

    Args:
        plan: the sweep.
        entries: how its trials stand.
        read: compares digests, for which every file is read; else sizes alone.
    """
    finished = [entry for entry in entries if entry.state == "finished"]
    looked = [
        (each.trial, lost_files(plan.trial_folder(each.trial), each.result, read=read))
        for each in finished
    ]
    return [(trial, faults) for trial, faults in looked if faults]
