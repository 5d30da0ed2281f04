"""What this machine has, what a trial takes of it, and how many trials fit. Starts nothing."""

from __future__ import annotations

import functools
import math
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trainables.errors import ConfigError

if TYPE_CHECKING:
    from platform.plan import LaunchConfig, Plan

_INLINE_CPUS = 1.0
# a trial that waits for its workers, and each worker: together two workers fit two CPUs
TRAINER_CPUS = 0.5
WORKER_CPUS = 0.5
_CGROUP = Path("/sys/fs/cgroup")
_GIB = 2**30


class ResourceError(ConfigError):
    """What can never be scheduled on this machine."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What this process may use.

    Attributes:
        cpus: at least 1.
        gpus: whole ones.
        memory: bytes; 0 where it cannot be told.
    """

    cpus: int
    gpus: int
    memory: int


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


def problems(launch: LaunchConfig, machine: Machine) -> list[str]:
    """Why trials can never run so here: a line each, the shortfall named; empty where they can."""
    gpus, workers = launch.gpus_per_trial, launch.workers
    most = launch.max_concurrent
    faults = [
        (workers < 1, f"--workers {workers} is below 1"),
        (not 0.0 <= gpus < math.inf, f"--gpus-per-trial {gpus} is not a number of 0 or more"),
        (most is not None and most < 1, f"--max-concurrent {most} is below 1"),
    ]
    wrong = [text for is_wrong, text in faults if is_wrong]
    return wrong or _shortfalls(launch, machine)


def _shortfalls(launch: LaunchConfig, machine: Machine) -> list[str]:
    gpus, workers, cpus = launch.gpus_per_trial, launch.workers, cpus_per_trial(launch)
    inline = not uses_trainer(launch)
    fit = int((machine.cpus - TRAINER_CPUS) / WORKER_CPUS)
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
        (
            gpus > machine.gpus,
            f"a trial asks for {gpus:g} GPU(s) and this machine has {machine.gpus}: "
            f"{gpus - machine.gpus:g} too few (--gpus-per-trial)",
        ),
        (
            cpus > machine.cpus,
            f"a trial of {workers} workers takes {cpus:g} CPUs and this machine has "
            f"{machine.cpus}: at most {fit} workers fit (--workers)",
        ),
    ]
    return [text for is_wrong, text in faults if is_wrong]


def check(plan: Plan, machine: Machine | None = None) -> None:
    """Refuses what can never be scheduled.

    Raises:
        ResourceError: the shortfalls, all together.
    """
    wrong = problems(plan.launch, machine or available())
    if wrong:
        raise ResourceError(wrong)


def concurrency(plan: Plan, machine: Machine | None = None) -> int:
    """How many trials run at once: as many as fit the CPUs and the GPUs, 1 or more."""
    has, launch = machine or available(), plan.launch
    bounds = [math.floor(has.cpus / cpus_per_trial(launch))]
    if launch.gpus_per_trial > 0:
        bounds.append(_fit_on_gpus(launch.gpus_per_trial, has.gpus))
    if launch.max_concurrent is not None:
        bounds.append(launch.max_concurrent)
    return max(1, min(bounds))


def _fit_on_gpus(share: float, gpus: int) -> int:
    """A fraction is never spread over two GPUs."""
    slack = 1e-9  # 1 / 0.1 trials share a GPU, whatever the last bit says
    if share >= 1:
        return math.floor(gpus / share + slack)
    return gpus * math.floor(1 / share + slack)


def describe(machine: Machine) -> str:
    """In words, such as `2 CPUs, 0 GPUs, 7.6 GiB memory`."""
    memory = f", {machine.memory / _GIB:.1f} GiB memory" if machine.memory else ""
    return f"{machine.cpus} CPU(s), {machine.gpus} GPU(s){memory}"


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
