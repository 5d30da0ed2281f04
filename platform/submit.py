"""`python -m platform.submit [SWEEP'S ARGUMENTS] --address URL`: a sweep as a job of a Ray cluster.

The cluster is sent the program and the user's study file, and nothing else. Exit status: the
command's own (see `platform.sweep`); 2 the user's mistake; 130 the job was stopped, or is no longer
followed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from platform.cli.job import read, submit
from trainables.utils.errors import exit_status


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    return exit_status(
        lambda: submit(read(arguments), sys.stdout),
        debug="--debug" in arguments,
        interrupted="interrupted before anything was submitted",
    )


if __name__ == "__main__":
    sys.exit(main())
