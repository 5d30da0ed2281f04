"""Takes over trials that another sweep of the same storage has run, instead of running them again.

Every finished trial is entered under its key in the storage's cache. A trial that is taken over
agrees in all that can change a figure: its configuration, its images, its original, the code,
torch, the device, and how many processes and threads shared the work.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platform.execution.trial_process import read_result
from platform.storage import manifest
from platform.storage.address import PLAN
from platform.storage.trial_files import lost_files
from trainables.config.names import RESULT
from trainables.utils.addresses import StorageError
from trainables.utils.files import make_folder, replacing, write_json
from trainables.utils.hashing import read_sealed, seal
from trainables.utils.local_files import lost

if TYPE_CHECKING:
    from platform.plan.plan import Plan, PlannedTrial
    from platform.search.trial_queue import TrialQueue
    from platform.search.trial_record import Entry
    from platform.storage.replica import Replica
    from trainables.data import Dataset

# in the folder of a trial that was taken over: which sweep has run it
MARK = "reused.json"


@dataclass(frozen=True)
class TakenOver:
    """What a sweep has found of the trials that others of its storage have run.

    Attributes:
        trials: those that were taken over.
        lost: what has become of files, by the folder in the storage of each trial that was not
            taken over for it.
    """

    trials: list[PlannedTrial] = field(default_factory=list)
    lost: dict[str, list[str]] = field(default_factory=dict)


def enter(plan: Plan, trial: PlannedTrial, replica: Replica) -> None:
    """Makes a finished trial known to the other sweeps of its storage."""
    folder = plan.trial_folder(trial).relative_to(plan.storage)
    path = _entry(plan, trial.key)
    with contextlib.suppress(OSError):  # without it the trial is run again, no more
        make_folder(path.parent)
        write_json(path, seal({"folder": folder.as_posix()}))
        replica.push_entry(path)


def enter_lacking(plan: Plan, entries: Iterable[Entry], replica: Replica) -> None:
    """Enters the finished trials that are not entered: a session was lost before it did so.

    Args:
        plan: the sweep.
        entries: how its trials stand.
        replica: the sweep's files behind the address of its storage, where that has one.
    """
    finished = [entry.trial for entry in entries if entry.state == "finished"]
    if all(_entry(plan, trial.key).is_file() for trial in finished):
        return
    replica.pull_entries()  # another machine may have made them; to make each anew takes longer
    for trial in finished:
        if not _entry(plan, trial.key).is_file():
            enter(plan, trial, replica)


def take_over(
    plan: Plan, queue: TrialQueue, datasets: Mapping[str, Dataset], replica: Replica
) -> TakenOver:
    """Ends outstanding trials by the results of equal ones, and copies their files.

    Args:
        plan: the sweep.
        queue: the outstanding trials of the sweep.
        datasets: of its trials, by `manifest.key_of`.
        replica: the sweep's files behind the address of its storage, where that has one.

    Raises:
        OSError: the ledger cannot be written, or the storage's cache not be used.
    """
    taken = TakenOver()
    with contextlib.suppress(StorageError):  # whoever needs the address next tells of it
        replica.pull_entries()
        before = -1
        # a trial that is taken over may make the sweep propose others, which may have been run too
        while before < len(taken.trials):
            before = len(taken.trials)
            for trial in [t for t in queue.waiting() if _entry(plan, t.key).is_file()]:
                dataset = datasets[manifest.key_of(trial.config.data)]
                found = _found(plan, trial, dataset, replica, taken)
                if found is None:
                    continue
                folder = plan.trial_folder(trial)
                try:
                    _copy(found, folder, plan.storage)
                    replica.push_trial(folder)
                    result = read_result(folder)
                except (OSError, ValueError):  # that sweep is being removed
                    continue
                queue.take_in(trial, result)
                taken.trials.append(trial)
    return taken


def _entry(plan: Plan, key: str) -> Path:
    return plan.cache / "trials" / f"{key}.json"


def _found(
    plan: Plan,
    trial: PlannedTrial,
    dataset: Dataset,
    replica: Replica,
    taken: TakenOver,
) -> Path | None:
    """Returns the folder of an equal trial that another sweep has finished; None without one.

    Args:
        plan: the sweep.
        trial: the trial that is looked for.
        dataset: its images.
        replica: as of `take_over`.
        taken: is told what has become of files of such a trial.
    """
    try:
        name = str(read_sealed(_entry(plan, trial.key))["folder"])
    except (OSError, ValueError, KeyError):
        return None
    folder = plan.storage / name
    if folder == plan.trial_folder(trial):
        return None
    try:
        replica.pull_trial(folder)
        result = read_result(folder)
    except ValueError as error:
        faults = [f"{RESULT} is altered ({error})"]
    except OSError as error:
        faults = lost(folder, {RESULT: {}}) or [f"{RESULT} cannot be read ({error.strerror})"]
    else:
        if result.get("identity") != _identity(plan, trial, dataset):
            return None
        faults = lost_files(folder, result, read=True)
    if faults and (folder.parents[1] / PLAN).is_file():  # else that sweep was removed
        taken.lost[name] = faults
    return None if faults else folder


def _identity(plan: Plan, trial: PlannedTrial, dataset: Dataset) -> Mapping[str, Any]:
    """Returns all that can change a figure of a trial, as its result would hold it."""
    import torch

    from trainables.shared.identity import identity
    from trainables.training.context import Context, TrialSetup
    from trainables.utils.distributed import World

    context = Context(
        cache=plan.cache,
        device=torch.device("cuda" if plan.launch.gpus_per_trial else "cpu"),
        world=World(0, plan.launch.workers),
    )
    return identity(TrialSetup(trial.config, dataset, context))


def _copy(source: Path, target: Path, storage: Path) -> None:
    """Copies a finished trial; its result, by which it counts, comes last."""
    make_folder(target)
    if not (source / MARK).is_file():  # else the source was taken over itself, and says from whom
        write_json(target / MARK, {"from": source.relative_to(storage).as_posix()})
    names = sorted(path.name for path in source.iterdir() if path.is_file())
    for name in [*(each for each in names if each != RESULT), RESULT]:
        if not name.startswith("."):
            with replacing(target / name) as beside:
                shutil.copyfile(source / name, beside)
