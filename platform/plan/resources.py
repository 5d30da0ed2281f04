"""What machines have, what a trial takes of it, and how many trials fit. Starts nothing."""

from __future__ import annotations

import functools
import math
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.utils.errors import ConfigError

if TYPE_CHECKING:
    from platform.plan.plan import LaunchConfig, Plan

_INLINE_CPUS = 1.0
# a trial that waits for its workers, and each worker: together two workers fit two CPUs
TRAINER_CPUS = 0.5
WORKER_CPUS = 0.5
_CGROUP = Path("/sys/fs/cgroup")
_GIB = 2**30


class ResourceError(ConfigError):
    """What can never be scheduled here."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What trials may use of one machine.

    Attributes:
        cpus: of a cluster's node also 0.
        gpus: whole ones.
        memory: bytes; 0 where it cannot be told.
        name: in words.
    """

    cpus: int
    gpus: int
    memory: int
    name: str = "this machine"


def available() -> Machine:
    """What this process may use of this machine, without starting Ray or importing torch."""
    return Machine(cpus=_cpus(), gpus=_gpus(), memory=_memory())


def free_disk(folder: Path) -> int:
    """Bytes free where a folder is or will be."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(there).free


def uses_trainer(launch: LaunchConfig) -> bool:
    """Whether trials run by Ray Train, rather than each in the process that Tune gives it."""
    if launch.launcher == "auto":
        return launch.workers > 1 or launch.gpus_per_trial > 0
    return launch.launcher == "train"


def cpus_per_trial(launch: LaunchConfig) -> float:
    """CPUs that a trial and its workers take together."""
    if uses_trainer(launch):
        return TRAINER_CPUS + WORKER_CPUS * launch.workers
    return _INLINE_CPUS


def problems(launch: LaunchConfig, *machines: Machine) -> list[str]:
    """Why trials can never run so here: a line each, the shortfall named; empty where they can.

    Args:
        launch: what a trial runs on.
        machines: that there are, one or more.
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
    """What runs on no machine."""
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
    """What these machines lack: workers may lie apart, a trial in its own process may not."""
    gpus, workers, cpus = launch.gpus_per_trial, launch.workers, cpus_per_trial(launch)
    has = _whole(machines)
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


def _whole(machines: Sequence[Machine]) -> Machine:
    """What machines have together."""
    if len(machines) == 1:
        return machines[0]
    return Machine(
        cpus=sum(each.cpus for each in machines),
        gpus=sum(each.gpus for each in machines),
        memory=sum(each.memory for each in machines),
        name="the cluster",
    )


def check(plan: Plan, machine: Machine | None = None) -> None:
    """Refuses what can never be scheduled.

    Raises:
        ResourceError: the shortfalls, all together.
    """
    wrong = problems(plan.launch, machine or available())
    if wrong:
        raise ResourceError(wrong)


def concurrency(plan: Plan, *machines: Machine) -> int:
    """How many trials run at once: as many as fit the CPUs and the GPUs, 1 or more.

    Args:
        plan: the sweep.
        machines: that it runs on; this one unless given.
    """
    most = _fit(plan.launch, machines or (available(),))
    if plan.launch.max_concurrent is not None:
        most = min(most, plan.launch.max_concurrent)
    return max(1, most)


def _fit(launch: LaunchConfig, machines: Sequence[Machine]) -> int:
    """How many trials find room at once."""
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
    """A fraction is never spread over two GPUs."""
    slack = 1e-9  # 1 / 0.1 trials share a GPU, whatever the last bit says
    if share >= 1:
        return math.floor(gpus / share + slack)
    return gpus * math.floor(1 / share + slack)


def describe(*machines: Machine) -> str:
    """In words, such as `2 CPUs, 0 GPUs, 7.6 GiB memory`."""
    has = _whole(machines)
    memory = f", {has.memory / _GIB:.1f} GiB memory" if has.memory else ""
    nodes = f" on {len(machines)} nodes" if len(machines) > 1 else ""
    return f"{has.cpus} CPU(s), {has.gpus} GPU(s){memory}{nodes}"


def _cpus() -> int:
    """Those that this process may run on, and no more than its container's quota."""
    affinity = getattr(os, "sched_getaffinity", None)  # on Linux alone
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = _read(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cpus = min(cpus, math.ceil(int(quota) / int(period)))
    return max(1, cpus)


def _memory() -> int:
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
    limit = _read(_CGROUP / "memory.max")
    return min(size, int(limit)) if limit.isdigit() else size


def _gpus() -> int:
    """Those that the driver lists and CUDA_VISIBLE_DEVICES lets through."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    program = shutil.which("nvidia-smi")
    if (visible is not None and not visible.strip()) or program is None:
        return 0
    listed = _listed_gpus(program)
    present = sum(line.startswith("GPU ") for line in listed.splitlines())
    if visible is None:
        return present
    # CUDA takes the list up to the first entry that names no device
    names = [name.strip() for name in visible.split(",")]
    hidden = [i for i, name in enumerate(names) if name in ("", "-1")]
    return min(present, hidden[0] if hidden else len(names))


@functools.cache
def _listed_gpus(program: str) -> str:
    """What the driver's tool lists; it may take a second, and its answer does not change."""
    try:
        return subprocess.run(
            [program, "-L"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (subprocess.SubprocessError, OSError):
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
