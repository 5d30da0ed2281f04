"""Runs every benchmark, one after the other: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import os
import pkgutil
import subprocess
import sys

import torch

import benchmarks


def names() -> list[str]:
    """The benchmarks in the order in which they run: what feeds a training first."""
    found = (each.name for each in pkgutil.iter_modules(benchmarks.__path__))
    return sorted(
        (name for name in found if not name.startswith("_")),
        key=lambda name: (name != "loader", name),
    )


def main() -> int:
    """Exit status 1 where a benchmark failed; those after it have run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name them, and run none")
    if parser.parse_args().list:
        print(*names(), sep="\n")
        return 0
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else "no GPU"
    cores, threads = os.cpu_count(), torch.get_num_threads()
    print(f"torch {torch.__version__}, {cores} cores, {threads} threads, {device}")
    failed = []
    for name in names():
        print(f"\n== {name}", flush=True)
        # a process each: what one leaves in memory and in torch's settings is not the next one's
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
