"""What the benchmarks measure with: seconds in turn, memory of this process, a device's rate."""

from __future__ import annotations

import os
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def interleaved(
    works: Mapping[str, Callable[[], object]],
    repeats: int,
    before: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Median seconds of each work.

    They take turns, so that what else the machine does meets all of them alike.

    Args:
        works: by name, in the order of each round.
        repeats: rounds.
        before: called before each round, and not timed.
    """
    spent: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        before()
        for name, work in works.items():
            start = time.perf_counter()
            work()
            spent[name].append(time.perf_counter() - start)
    return {name: statistics.median(each) for name, each in spent.items()}


def tell(what: str, seconds: Mapping[str, float]) -> None:
    """Prints a line: what was compared, the seconds of two works, the first over the second."""
    (slow, slow_s), (fast, fast_s) = seconds.items()
    ratio = slow_s / fast_s
    print(f"{what:<32} {slow} {slow_s:9.4f} s, {fast} {fast_s:9.4f} s {ratio:8.2f} x", flush=True)


def peak_memory() -> int:
    """Most bytes that this process has had in memory so far, pages of mapped files among them."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would also tell of the process that started this one
        return _kilobytes(status, "VmHWM")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def free_memory(device: torch.device) -> int:
    """Bytes that a model on the device may still take; all of the machine's where none tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    told = Path("/proc/meminfo")
    if told.exists():
        return _kilobytes(told, "MemAvailable")
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _kilobytes(path: Path, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", path.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{path} tells no {name}")
    return int(found[1]) * 1024


def synchronise(device: torch.device) -> None:
    """Waits until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_rate(device: torch.device, side: int = 0, repeats: int = 10) -> float:
    """Floating-point operations a second of the best of some large matrix products.

    It stands for the device's peak, which data sheets give for clocks that a card seldom holds.

    Args:
        device: in bfloat16 on a GPU, in float32 on a CPU.
        side: of the square matrices; by default large enough for the device.
        repeats: products, after one that is not timed.
    """
    gpu = device.type == "cuda"
    side = side or (8192 if gpu else 1024)
    first, second = torch.randn(
        (2, side, side), device=device, dtype=torch.bfloat16 if gpu else torch.float32
    )
    spent = []
    for _ in range(repeats + 1):
        synchronise(device)
        start = time.perf_counter()
        first @ second
        synchronise(device)
        spent.append(time.perf_counter() - start)
    return 2 * side**3 / min(spent[1:])
