"""Measures what `docs/reliability.md` promises, on real sweeps: each figure by a command.

Every command prints its figures as they come and whether all are as wanted; its exit status is 1
where one is not, and 2 where this machine cannot measure it.
"""

from __future__ import annotations

import argparse
import sys

from tests.reliability import chaos, disk, kills, outage, overhead, pair, signals, workers

MEASUREMENTS = {
    "kills": kills,
    "outage": outage,
    "workers": workers,
    "disk": disk,
    "pair": pair,
    "overhead": overhead,
    "signals": signals,
    "chaos": chaos,
}


def main() -> int:
    """Runs the command line and returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in MEASUREMENTS.items():
        told = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=told, description=module.__doc__)
        module.add_options(command)
        command.set_defaults(measure=module.measure)
    every = "measures all of them, one after the other, each by its defaults"
    commands.add_parser("all", help=every, description=every).set_defaults(measure=_measure_all)
    options = parser.parse_args()
    return int(options.measure(options))


def _measure_all(options: argparse.Namespace) -> int:
    """Measures everything; returns the worst exit status."""
    statuses = []
    for name, module in MEASUREMENTS.items():
        print(f"== {name}", flush=True)
        parser = argparse.ArgumentParser()
        module.add_options(parser)
        statuses.append(int(module.measure(parser.parse_args([]))))
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main())
