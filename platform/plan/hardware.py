"""Probes the hardware of this machine. Starts nothing, and imports neither Ray nor torch."""

from __future__ import annotations

import functools
import math
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platform

_CGROUP = Path("/sys/fs/cgroup")
_GIB = 2**30
_GPU_FIELDS = ("name", "memory.total", "driver_version")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What trials may use of one machine.

    Attributes:
        cpus: CPUs; 0 for a node of a cluster that lends none.
        gpus: whole GPUs.
        memory: bytes; 0 where it is unknown.
        name: the machine in words, for messages.
    """

    cpus: int
    gpus: int
    memory: int
    name: str = "this machine"


def this_machine() -> Machine:
    """Returns what this process may use of this machine."""
    return Machine(cpus=_cpus(), gpus=_visible_gpus(), memory=_memory())


def together(machines: Sequence[Machine]) -> Machine:
    """Returns what machines have together."""
    if len(machines) == 1:
        return machines[0]
    return Machine(
        cpus=sum(each.cpus for each in machines),
        gpus=sum(each.gpus for each in machines),
        memory=sum(each.memory for each in machines),
        name="the cluster",
    )


def describe(*machines: Machine) -> str:
    """Returns machines in words, such as `2 CPU(s), 0 GPU(s), 7.6 GiB memory`."""
    has = together(machines)
    memory = f", {has.memory / _GIB:.1f} GiB memory" if has.memory else ""
    nodes = f" on {len(machines)} nodes" if len(machines) > 1 else ""
    return f"{has.cpus} CPU(s), {has.gpus} GPU(s){memory}{nodes}"


def free_disk(folder: Path) -> int:
    """Returns the bytes that are free where a folder is or will be."""
    return shutil.disk_usage(_nearest(folder)).free


def has_disk(folder: Path) -> bool:
    """Tells whether files can be kept where a folder is or will be: not so below `/proc`."""
    return shutil.disk_usage(_nearest(folder)).total > 0


def _nearest(folder: Path) -> Path:
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


def inventory() -> dict[str, Any]:
    """Returns all hardware of the machine as plain values, whatever this process may use of it.

    The keys are `cpu`, `cpu_count`, `memory_gib` and `gpus`; None stands for what is unknown.
    """
    size = _physical_memory()
    return {
        "cpu": _cpu_model(),
        "cpu_count": os.cpu_count(),
        "memory_gib": round(size / _GIB, 1) if size else None,
        "gpus": list_gpus(),
    }


def list_gpus() -> list[dict[str, str]]:
    """Returns name, memory and driver of each GPU of the machine, as the driver's tool lists them.

    To ask torch would take seconds, and memory on the GPU.
    """
    program = shutil.which("nvidia-smi")
    rows = [line.split(",") for line in _listed(program).splitlines()] if program else []
    return [
        dict(zip(_GPU_FIELDS, (value.strip() for value in row), strict=True))
        for row in rows
        if len(row) == len(_GPU_FIELDS)
    ]


@functools.cache
def _listed(program: str) -> str:
    """Returns what the tool prints, kept as it may take a second and does not change."""
    return output_of(program, f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader")


def output_of(*command: str) -> str:
    """Returns what a command prints; nothing where it is absent, fails or takes over 10 s."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=10, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return ""
    return done.stdout.strip()


def _visible_gpus() -> int:
    """Returns how many GPUs CUDA_VISIBLE_DEVICES lets through."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return len(list_gpus())
    # CUDA takes the list up to the first entry that names no device
    names = [name.strip() for name in visible.split(",")]
    hidden = [i for i, name in enumerate(names) if name in ("", "-1")]
    shown = hidden[0] if hidden else len(names)
    return min(len(list_gpus()), shown) if shown else 0


def _cpus() -> int:
    """Returns the CPUs that this process may run on, and no more than its container's quota."""
    affinity = getattr(os, "sched_getaffinity", None)  # on Linux alone
    cpus = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = _read(_CGROUP / "cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        cpus = min(cpus, math.ceil(int(quota) / int(period)))
    return max(1, cpus)


def _cpu_model() -> str:
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> int:
    """Returns the bytes of memory, no more than the container's limit; 0 where it is unknown."""
    size, limit = _physical_memory(), _read(_CGROUP / "memory.max")
    return min(size, int(limit)) if limit.isdigit() else size


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
