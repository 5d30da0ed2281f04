"""Reads the arguments of a command line: every option in one table, every fault in a list."""

from __future__ import annotations

import argparse
import difflib
import re
from collections import deque
from collections.abc import Mapping, Sequence

from platform.cli.request import LAUNCHERS, Request
from trainables.utils.errors import ConfigError
from trainables.utils.text import close_names

# the name of an option's value in the help, or None for a flag; and what the option does
Options = Mapping[str, tuple[str | None, str]]
SWEEP_OPTIONS: Options = {
    "--list": (None, "show the studies, a line each, and end"),
    "--fields": (None, "show every KEY of --set with its default, and end"),
    "--dry-run": (None, "print the plan; start nothing and write nothing"),
    "--set": (
        "KEY=VALUE",
        "any field of a trial, or search.trials; a list a,b enumerates; repeatable",
    ),
    "--name": ("NAME", "of the sweep; default: the study's, with a number if that is in use"),
    "--storage": ("DIR", "of sweeps, or s3://...; default: ./runs"),
    "--resume": (None, "go on with what is outstanding of a sweep"),
    "--retry-failed": (None, "--resume, and its failed trials once more"),
    "--max-failures": ("N", "times a crashed trial is tried again; default: 2"),
    "--time-budget": ("TIME", "stop after 90m or 2h30m; --resume goes on"),
    "--trials": ("N", "stop after N trials; --resume goes on"),
    "--no-reuse": (None, "run also what another sweep here has run"),
    "--no-report": (None, "do not make the report at a sweep's end"),
    "--sync": ("NAME", "bring the record in MLflow up to date, and end"),
    "--seed": ("N", "of the search and the trials; default: 0"),
    "--max-concurrent": ("N", "most trials at once; default: as many as fit"),
    "--workers": ("N", "processes that share each batch of a trial; default: 1"),
    "--gpus-per-trial": ("N", "a fraction shares a GPU; default: 0"),
    "--launcher": ("HOW", f"{', '.join(LAUNCHERS)}; default: auto"),
    "--address": ("HOST:PORT", "a Ray cluster to join; auto for this node's"),
    "--tracking-uri": ("URI", "MLflow server; default: mlflow.db in the storage"),
    "--strict": (None, "stop at an unusable image: data.strict=true"),
    "--debug": (None, "show tracebacks and Ray's own log"),
}
DOCTOR_OPTIONS: Options = {
    name: SWEEP_OPTIONS[name] for name in ("--set", "--storage", "--tracking-uri", "--debug")
}
_HELP = ("-h", "--help")
_REPEATABLE = ("--set",)
_OPTION = re.compile(r"-(?!\d*\.?\d+$).")  # a negative number is a value


def parse_sweep(arguments: Sequence[str]) -> tuple[Request, list[str]]:
    """Returns the request of `python -m platform.sweep`, and a line for each argument at fault."""
    parser = _Parser(
        prog="python -m platform.sweep",
        description="Runs a study: every trial of it, in parallel, recorded in MLflow.",
    )
    study = "of --list, or a file: FILE.py; default: quickstart"
    parser.add_argument("study", nargs="?", metavar="STUDY", help=study)
    return _parsed(parser, SWEEP_OPTIONS, arguments)


def parse_doctor(arguments: Sequence[str]) -> tuple[Request, list[str]]:
    """Returns the request of `python -m platform.doctor`, and a line for each argument at fault."""
    parser = _Parser(
        prog="python -m platform.doctor",
        description="What this machine can run, and what a study lacks here.",
    )
    study = "whose data and weights are looked for; default: quickstart"
    parser.add_argument("study", nargs="?", metavar="STUDY", help=study)
    return _parsed(parser, DOCTOR_OPTIONS, arguments)


class _Parser(argparse.ArgumentParser):
    """A parser whose result holds the options that were given, and no others."""

    def __init__(self, *, prog: str, description: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raises, so that the caller tells of this fault together with all others."""
        raise ConfigError([message])


def _parsed(
    parser: _Parser, options: Options, arguments: Sequence[str]
) -> tuple[Request, list[str]]:
    for name, (value, text) in options.items():
        if value is None:
            parser.add_argument(name, action="store_true", help=text)
        else:
            action = "append" if name in _REPEATABLE else "store"
            parser.add_argument(name, action=action, metavar=value, help=text)
    takes_value = {name: value is not None for name, (value, _) in options.items()}
    kept, faults = _sifted(arguments, dict.fromkeys(_HELP, False) | takes_value)
    given, extra = parser.parse_known_args(kept)
    values = vars(given)
    request = Request(**values | {"set": tuple(values.get("set", ()))})
    return request, [*faults, *(f"unexpected argument {text!r}" for text in extra)]


def _sifted(
    arguments: Sequence[str], takes_value: Mapping[str, bool]
) -> tuple[list[str], list[str]]:
    """Returns what argparse, which stops at its first fault, can take, and the other faults."""
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
