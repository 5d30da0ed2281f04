"""Trials that another sweep of the same storage has run: taken over, not run again.

Every finished trial is entered under its key in the storage's cache. What is taken over must agree
in all that can change a figure: the trial, its images, its original, the code, torch, the device,
and how many processes and threads shared the work.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platform.execution.trial_process import read_result
from platform.plan.plan import Plan, PlannedTrial
from platform.search.ledger import Ledger
from platform.storage import manifest
from platform.storage.replica import Copy
from trainables.config.names import RESULT
from trainables.data import Dataset
from trainables.utils.addresses import StorageError
from trainables.utils.files import replacing, write_json
from trainables.utils.hashing import read_sealed, seal

MARK = "reused.json"  # in the folder of a trial that was taken over: whose it was


def enter(plan: Plan, trial: PlannedTrial, copy: Copy) -> None:
    """Makes a finished trial known to the other sweeps of its storage."""
    place = plan.trial_folder(trial).relative_to(plan.storage)
    path = _entry(plan, trial.key)
    with contextlib.suppress(OSError):  # without it the trial is run again, no more
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, seal({"folder": place.as_posix()}))
        copy.give_entry(path)


def take_over(
    plan: Plan, ledger: Ledger, datasets: Mapping[str, Dataset], copy: Copy
) -> list[PlannedTrial]:
    """Ends outstanding trials by what other sweeps of the storage found, files and all.

    Args:
        plan: the sweep.
        ledger: its own.
        datasets: of its trials, by `images.load_all`.
        copy: of the sweep, where its storage has an address.

    Returns:
        The trials that were taken over.
    """
    taken: list[PlannedTrial] = []
    with contextlib.suppress(StorageError):  # whoever needs the place next tells of it
        copy.take_entries()
        _take_all(plan, ledger, datasets, copy, taken)
    return taken


def _take_all(
    plan: Plan,
    ledger: Ledger,
    datasets: Mapping[str, Dataset],
    copy: Copy,
    taken: list[PlannedTrial],
) -> None:
    """As `take_over`; the trials are added to `taken`."""
    while fresh := [t for t in ledger.queued() if _entry(plan, t.key).is_file()]:
        before = len(taken)
        for trial in fresh:
            found = _found(plan, trial, datasets[manifest.key_of(trial.config.data)], copy)
            if found is None:
                continue
            with contextlib.suppress(OSError, ValueError):  # that sweep is being removed
                _copy(found, plan.trial_folder(trial), plan.storage)
                copy.give_trial(plan.trial_folder(trial))
                result = read_result(plan.trial_folder(trial))
                ledger.take_in(trial, result)
                taken.append(trial)
        if len(taken) == before:
            break


def _entry(plan: Plan, key: str) -> Path:
    return plan.cache / "trials" / f"{key}.json"


def _found(plan: Plan, trial: PlannedTrial, dataset: Dataset, copy: Copy) -> Path | None:
    """The folder of an equal trial, whole, that another sweep has run."""
    try:
        folder = plan.storage / str(read_sealed(_entry(plan, trial.key))["folder"])
        copy.take_trial(folder)
        result = read_result(folder)
    except (OSError, ValueError, KeyError):  # that sweep was removed, or is not whole
        return None
    same = result.get("identity") == _identity(plan, trial, dataset)
    return folder if same and folder != plan.trial_folder(trial) else None


def _identity(plan: Plan, trial: PlannedTrial, dataset: Dataset) -> Mapping[str, Any]:
    import torch

    from trainables.training.context import Context
    from trainables.trial import identity
    from trainables.utils.distributed import World

    context = Context(
        cache=plan.cache,
        device=torch.device("cuda" if plan.launch.gpus_per_trial else "cpu"),
        world=World(0, plan.launch.workers),
    )
    return identity(trial.config, context, dataset)


def _copy(source: Path, target: Path, storage: Path) -> None:
    """The files of a finished trial, and whose they were; the result, by which it counts, last."""
    target.mkdir(parents=True, exist_ok=True)
    first = source / MARK  # what was taken over before came from elsewhere
    if not first.is_file():
        write_json(target / MARK, {"from": source.relative_to(storage).as_posix()})
    names = sorted(path.name for path in source.iterdir() if path.is_file())
    for name in [*(each for each in names if each != RESULT), RESULT]:
        if not name.startswith("."):
            with replacing(target / name) as beside:
                shutil.copyfile(source / name, beside)
