"""`python -m platform.sweep [STUDY]`: the command line of sweeps.

Exit status: 0 all trials finished; 1 some failed, or the program did; 2 the user's mistake; 130
interrupted and resumable.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from platform.cli.dry_run import describe, fields, studies
from platform.cli.request import parse_sweep
from platform.cli.requested_plan import plan_request
from trainables.utils.errors import FINISHED, ConfigError, exit_status


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    return exit_status(
        lambda: _sweep(arguments),
        debug="--debug" in arguments,
        interrupted="interrupted before anything was started",
    )


def _sweep(arguments: Sequence[str]) -> int:
    request, faults = parse_sweep(arguments)
    if request.list or request.fields:
        if faults:
            raise ConfigError(faults)
        print("\n".join(studies() if request.list else fields()))
        return FINISHED
    try:
        call = plan_request(request, faults)
        if request.dry_run:
            resumed = call.request.resume
            print("\n".join(describe(call.plan, *call.machines, resumed=resumed, left=call.left)))
            return FINISHED
        from platform.cli import run

        work = run.run if request.sync is None else run.sync
        return work(call, sys.stdout)
    finally:
        if request.address is not None:
            from platform.execution import cluster

            cluster.leave()


if __name__ == "__main__":
    sys.exit(main())
