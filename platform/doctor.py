"""`python -m platform.doctor [STUDY]`: what this machine can run, a line a finding.

Exit status: 0 a sweep can run, 1 something it needs fails, 2 a mistake in the call.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from platform.cli.diagnosis import findings
from platform.cli.request import parse_doctor
from platform.plan.study_loader import find_study
from trainables.utils.errors import FAILED, FINISHED, ConfigError, exit_status


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    return exit_status(lambda: _diagnose(arguments), debug="--debug" in arguments)


def _diagnose(arguments: Sequence[str]) -> int:
    request, faults = parse_doctor(arguments)
    if faults:
        raise ConfigError(faults)
    if request.study is not None:
        find_study(request.study)
    failed = False
    for finding in findings(request):
        failed |= finding.level == "fail"
        print(f"{finding.level:<4}  {finding.text}", flush=True)
    print("something above must be mended first" if failed else "a sweep can run here")
    return FAILED if failed else FINISHED


if __name__ == "__main__":
    sys.exit(main())
