"""`python -m platform.sweep [STUDY]`: the command line of sweeps.

Exit status: 0 all trials finished; 1 some failed, or the program did; 2 the user's mistake; 130
interrupted and resumable.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
import traceback
from collections import deque
from collections.abc import Mapping, Sequence

from platform.cli.request import LAUNCHERS, Request, fields, plan_request, studies
from platform.plan.plan import Plan
from trainables.utils.errors import ConfigError, UserError
from trainables.utils.text import close_names, one_line

_MOST_LINES = 4
_OPTION = re.compile(r"-(?!\d*\.?\d+$).")  # a negative number is a value


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("interrupted before anything was started", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # whoever read the output, such as head, has gone; Python would fail on it at its end too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        mistake = isinstance(error, UserError)
        shown = f"{type(error).__name__}: {error} (--debug shows where)"
        for line in fault_lines(getattr(error, "problems", [str(error) if mistake else shown])):
            print(f"error: {line}", file=sys.stderr)
        return 2 if mistake else 1


def fault_lines(problems: Sequence[str]) -> list[str]:
    """Every fault, a line each, in at most four lines: the last one holds all that are left."""
    lines = [one_line(text, None) for text in problems]
    first, rest = lines[: _MOST_LINES - 1], lines[_MOST_LINES - 1 :]
    return [*first, "; ".join(rest)] if rest else first


def _run(arguments: Sequence[str]) -> int:
    options, faults = parse(arguments)
    if options.list or options.fields:
        if faults:
            raise ConfigError(faults)
        print("\n".join(studies() if options.list else fields()))
        return 0
    try:
        return _planned(*plan_request(options, faults))
    finally:
        if options.address is not None:
            from platform.execution import cluster

            cluster.leave()


def _planned(request: Request, plan: Plan) -> int:
    if request.dry_run:
        from platform.plan.estimate import describe

        print("\n".join(describe(plan, *request.machines, resumed=request.resume)))
        return 0
    from platform.cli import run

    if request.sync is not None:
        return run.sync(plan, tracking_uri=request.tracking_uri, stream=sys.stdout)
    return run.run(
        plan,
        resume=request.resume,
        retry_failed=request.retry_failed,
        reuse_others=not request.no_reuse,
        limits=request.limits,
        address=request.address,
        machines=request.machines,
        tracking_uri=request.tracking_uri,
        report=not request.no_report,
        debug=request.debug,
        stream=sys.stdout,
    )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        """Raises, so that the caller tells of this fault together with all others."""
        raise ConfigError([message])


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m platform.sweep",
        description="Runs a study: every trial of it, in parallel, recorded in MLflow.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "study",
        nargs="?",
        metavar="STUDY",
        help="of --list, or a file: FILE.py; default: quickstart",
    )
    add("--list", action="store_true", help="show the studies, a line each, and end")
    add("--fields", action="store_true", help="show every KEY of --set with its default, and end")
    add("--dry-run", action="store_true", help="print the plan; start nothing and write nothing")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any field of a trial, or search.trials; a list a,b enumerates; repeatable",
    )
    add("--name", help="of the sweep; default: the study's, with a number if that is in use")
    add("--storage", metavar="DIR", default="runs", help="of sweeps, or s3://...; default: ./runs")
    add("--resume", action="store_true", help="go on with what is outstanding of a sweep")
    add("--retry-failed", action="store_true", help="--resume, and its failed trials once more")
    add("--max-failures", metavar="N", help="times a crashed trial is tried again; default: 2")
    add("--time-budget", metavar="TIME", help="stop after 90m or 2h30m; --resume goes on")
    add("--trials", metavar="N", help="stop after N trials; --resume goes on")
    add("--no-reuse", action="store_true", help="run also what another sweep here has run")
    add("--no-report", action="store_true", help="do not make the report at a sweep's end")
    add("--sync", metavar="NAME", help="bring the record in MLflow up to date, and end")
    add("--seed", metavar="N", help="of the search and the trials; default: 0")
    add("--max-concurrent", metavar="N", help="most trials at once; default: as many as fit")
    add("--workers", metavar="N", help="processes that share each batch of a trial; default: 1")
    add("--gpus-per-trial", metavar="N", help="a fraction shares a GPU; default: 0")
    add("--launcher", metavar="HOW", help=f"{', '.join(LAUNCHERS)}; default: auto")
    add("--address", metavar="HOST:PORT", help="a Ray cluster to join; auto for this node's")
    add("--tracking-uri", metavar="URI", help="MLflow server; default: mlflow.db in the storage")
    add("--strict", action="store_true", help="stop at an unusable image: data.strict=true")
    add("--debug", action="store_true", help="show tracebacks and Ray's own log")
    return parser


def parse(arguments: Sequence[str]) -> tuple[Request, list[str]]:
    """The options, and a fault for each argument that is none."""
    parser = _parser()
    takes_value = {
        text: action.nargs is None for action in parser._actions for text in action.option_strings
    }
    kept, faults = _sifted(arguments, takes_value)
    options = Request()
    _, extra = parser.parse_known_args(kept, namespace=options)
    return options, [*faults, *(f"unexpected argument {text!r}" for text in extra)]


def _sifted(
    arguments: Sequence[str], takes_value: Mapping[str, bool]
) -> tuple[list[str], list[str]]:
    """What argparse, which stops at its first fault, can take; and a fault for each of the rest."""
    kept, faults, left = [], [], deque(arguments)
    while left:
        text = left.popleft()
        name, equals, _ = text.partition("=")
        value_follows = bool(left) and not equals and not _OPTION.match(left[0])
        if not _OPTION.match(text):
            kept.append(text)
        elif name not in takes_value:
            faults.append(f"unknown option {name}{close_names(name, list(takes_value))}")
            meant = difflib.get_close_matches(name, takes_value, n=1)
            if value_follows and (not meant or takes_value[meant[0]]):
                left.popleft()  # it would be taken for a study
        elif equals and not takes_value[name]:
            faults.append(f"{name} takes no value")
        elif takes_value[name] and not equals and not value_follows:
            faults.append(f"{name} needs a value")
        else:
            kept.append(f"{text}={left.popleft()}" if takes_value[name] and not equals else text)
    return kept, list(dict.fromkeys(faults))


if __name__ == "__main__":
    sys.exit(main())
