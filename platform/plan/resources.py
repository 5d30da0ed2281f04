"""Says what a trial takes of machines, and how many trials fit. Starts nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from platform.plan.hardware import Machine, describe, this_machine, together

if TYPE_CHECKING:
    from platform.plan.plan import LaunchConfig, Plan

_INLINE_CPUS = 1.0
# a trial that waits for its workers, and each worker: together two workers fit two CPUs
TRAINER_CPUS = 0.5
WORKER_CPUS = 0.5


def uses_trainer(launch: LaunchConfig) -> bool:
    """Reports whether trials run by Ray Train, not each in the process that Tune gives it."""
    if launch.launcher == "auto":
        return launch.workers > 1 or launch.gpus_per_trial > 0
    return launch.launcher == "train"


def cpus_per_trial(launch: LaunchConfig) -> float:
    """Returns the CPUs that a trial and its workers take together."""
    if uses_trainer(launch):
        return TRAINER_CPUS + WORKER_CPUS * launch.workers
    return _INLINE_CPUS


def problems(launch: LaunchConfig, *machines: Machine) -> list[str]:
    """Returns why trials can never run: a line each, the shortfall named; none where they can.

    Args:
        launch: what a trial runs on.
        machines: the machines that there are, one or more.
    """
    gpus, workers = launch.gpus_per_trial, launch.workers
    most = launch.max_concurrent
    faults = [
        (workers < 1, f"--workers {workers} is below 1"),
        (not 0.0 <= gpus < math.inf, f"--gpus-per-trial {gpus} is not a number of 0 or more"),
        (most is not None and most < 1, f"--max-concurrent {most} is below 1"),
    ]
    wrong = [text for is_wrong, text in faults if is_wrong]
    return wrong or _contradictions(launch) + _shortfalls(launch, machines)


def _contradictions(launch: LaunchConfig) -> list[str]:
    """Returns why trials can run on no machine."""
    gpus, workers = launch.gpus_per_trial, launch.workers
    inline = not uses_trainer(launch)
    faults = [
        (
            inline and workers > 1,
            f"--launcher inline runs one worker, and --workers {workers} asks for more: "
            "--launcher train",
        ),
        (
            inline and gpus > 1,
            f"--launcher inline drives one GPU, and a trial asks for {gpus:g}: --launcher train",
        ),
        (
            not inline and gpus > 0 and workers > 1 and gpus != workers,
            f"each of {workers} workers drives one GPU of its own: --gpus-per-trial {workers}",
        ),
        (
            not inline and workers == 1 and gpus > 1,
            "one worker drives one GPU, and a trial asks for "
            f"{gpus:g}: --workers {math.ceil(gpus)} --gpus-per-trial {math.ceil(gpus)}",
        ),
    ]
    return [text for is_wrong, text in faults if is_wrong]


def _shortfalls(launch: LaunchConfig, machines: Sequence[Machine]) -> list[str]:
    """Returns what machines lack: workers may lie apart, a trial in its own process may not."""
    gpus, workers, cpus = launch.gpus_per_trial, launch.workers, cpus_per_trial(launch)
    has = together(machines)
    if not uses_trainer(launch) and len(machines) > 1:
        most_cpus, most_gpus = (max(getattr(m, n) for m in machines) for n in ("cpus", "gpus"))
        has = Machine(cpus=most_cpus, gpus=most_gpus, memory=0, name="the largest node")
    fit = int((has.cpus - TRAINER_CPUS) / WORKER_CPUS)
    faults = [
        (
            gpus > has.gpus,
            f"a trial asks for {gpus:g} GPU(s) and {has.name} has {has.gpus}: "
            f"{gpus - has.gpus:g} too few (--gpus-per-trial)",
        ),
        (
            cpus > has.cpus,
            f"a trial of {workers} workers takes {cpus:g} CPUs and {has.name} has "
            f"{has.cpus}: at most {max(fit, 0)} workers fit (--workers)",
        ),
    ]
    wrong = [text for is_wrong, text in faults if is_wrong]
    if wrong or _fit(launch, machines):
        return wrong
    return [f"a trial takes CPUs and GPUs of one node, and no node has both: {describe(*machines)}"]


def concurrency(plan: Plan, *machines: Machine) -> int:
    """Returns how many trials run at once: as many as fit the CPUs and the GPUs, 1 or more.

    Args:
        plan: the sweep.
        machines: the machines that it runs on; this one unless given.
    """
    most = _fit(plan.launch, machines or (this_machine(),))
    if plan.launch.max_concurrent is not None:
        most = min(most, plan.launch.max_concurrent)
    return max(1, most)


def _fit(launch: LaunchConfig, machines: Sequence[Machine]) -> int:
    """Returns how many trials find room at once."""
    share = launch.gpus_per_trial / launch.workers
    of_each = WORKER_CPUS if uses_trainer(launch) else _INLINE_CPUS
    processes = 0
    for each in machines:
        room = math.floor(each.cpus / of_each)
        processes += min(room, _fit_on_gpus(share, each.gpus)) if share > 0 else room
    if not uses_trainer(launch):
        return processes
    cpus = sum(each.cpus for each in machines)
    return min(processes // launch.workers, math.floor(cpus / cpus_per_trial(launch)))


def _fit_on_gpus(share: float, gpus: int) -> int:
    """Returns how many shares fit; a fraction is never spread over two GPUs."""
    slack = 1e-9  # 1 / 0.1 trials share a GPU, whatever the last bit says
    if share >= 1:
        return math.floor(gpus / share + slack)
    return gpus * math.floor(1 / share + slack)
