"""Reads a command line: every option in one table, every fault in a list, numbers and times."""

from __future__ import annotations

import argparse
import difflib
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from platform.plan.plan import LaunchConfig, Launcher, Limits
from trainables.utils.errors import ConfigError, UserError
from trainables.utils.text import close_names

LAUNCHERS: tuple[str, ...] = get_args(Launcher)
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
    "--repair": (None, "--resume, and finished trials whose files are gone or altered once more"),
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
# options that end a call without running a sweep, and those that they read
_ENDING: dict[str, tuple[str, ...]] = {
    "--list": ("--debug",),
    "--fields": ("--debug",),
    # a job of a cluster is given the address whatever it does
    "--sync": ("--name", "--storage", "--tracking-uri", "--address", "--debug"),
}
_Made = TypeVar("_Made")
_HELP = ("-h", "--help")
_REPEATABLE = ("--set",)
_OPTION = re.compile(r"-(?!\d*\.?\d+$).")  # a negative number is a value
_SPAN = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")


@dataclass(frozen=True, kw_only=True)
class Request:
    """The options as they were given: texts, or None where they were not; see `--help`.

    Attributes:
        study: the positional argument.
        set: every `key=value` of `--set`, in order.
        storage: a folder of sweeps, or its address.
    """

    study: str | None = None
    set: tuple[str, ...] = ()
    storage: str = "runs"
    name: str | None = None
    seed: str | None = None
    workers: str | None = None
    gpus_per_trial: str | None = None
    max_concurrent: str | None = None
    launcher: str | None = None
    tracking_uri: str | None = None
    address: str | None = None
    sync: str | None = None
    max_failures: str | None = None
    time_budget: str | None = None
    trials: str | None = None
    retry_failed: bool = False
    repair: bool = False
    no_reuse: bool = False
    no_report: bool = False
    list: bool = False
    fields: bool = False
    dry_run: bool = False
    resume: bool = False
    strict: bool = False
    debug: bool = False

    @property
    def overrides(self) -> tuple[str, ...]:
        """Every `key=value` of the user, the one that `--strict` stands for among them."""
        return (*self.set, *(["data.strict=true"] if self.strict else []))


def attempt(faults: list[str], make: Callable[[], _Made]) -> _Made | None:
    """Returns what `make` makes; at a mistake of the user adds its lines to `faults`."""
    try:
        return make()
    except UserError as error:
        faults += getattr(error, "problems", [str(error)])
        return None


def parse_sweep(arguments: Sequence[str]) -> tuple[Request, list[str]]:
    """Returns the request of `python -m platform.sweep`, and a line for each argument at fault."""
    request, faults = _parsed(
        "python -m platform.sweep",
        "Runs a study: every trial of it, in parallel, recorded in MLflow.",
        "of --list, or a file: FILE.py; default: quickstart",
        SWEEP_OPTIONS,
        arguments,
    )
    return request, [*faults, *_unread(request)]


def _unread(request: Request) -> list[str]:
    """Returns a line where an option that ends the call comes with others that it does not read."""
    usual = Request()
    given = [
        "STUDY" if name == "study" else "--" + name.replace("_", "-")
        for name, value in vars(request).items()
        if value != getattr(usual, name)
    ]
    faults = []
    for option, read in _ENDING.items():
        others = [name for name in given if name not in (option, *read)]
        if option in given and others:
            faults.append(f"{option} does not read {', '.join(others)}: leave one out")
    return faults[:1]


def parse_doctor(arguments: Sequence[str]) -> tuple[Request, list[str]]:
    """Returns the request of `python -m platform.doctor`, and a line for each argument at fault."""
    return _parsed(
        "python -m platform.doctor",
        "What this machine can run, and what a study lacks here.",
        "whose data and weights are looked for; default: quickstart",
        DOCTOR_OPTIONS,
        arguments,
    )


class _Parser(argparse.ArgumentParser):
    """A parser that tells its faults to the caller."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raises, so that the caller tells of this fault together with all others."""
        raise ConfigError([message])


def _parsed(
    prog: str, description: str, study: str, options: Options, arguments: Sequence[str]
) -> tuple[Request, list[str]]:
    # the result holds the options that were given, and no others
    parser = _Parser(
        prog=prog,
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("study", nargs="?", metavar="STUDY", help=study)
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
    seen: set[str] = set()
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
            if takes_value[name] and name in seen and name not in _REPEATABLE:
                faults.append(f"{name} is given twice")
            seen.add(name)
            kept.append(f"{text}={left.popleft()}" if takes_value[name] and not equals else text)
    return kept, list(dict.fromkeys(faults))


def seconds(text: str) -> float:
    """Returns the seconds of a span of time such as `90`, `90s`, `45m`, `2h` or `1h30m`.

    Raises:
        ValueError: the text is no span of time, or one of no length.
    """
    found = _SPAN.fullmatch(text.strip())
    parts = [float(part or 0) for part in found.groups()] if found else []
    total = sum(part * unit for part, unit in zip(parts, (3600, 60, 1), strict=False))
    if total <= 0:
        raise ValueError(text)
    return total


_WANTED: dict[Callable[[str], Any], str] = {
    int: "a whole number",
    float: "a number",
    seconds: "a time such as 90m or 2h30m",
}
_LAUNCH = {"workers": int, "gpus_per_trial": float, "max_concurrent": int}
_LEAST = {"max_failures": 0, "trials": 1}


def read_launch(request: Request, faults: list[str]) -> LaunchConfig:
    """Returns how trials are launched; adds a line to `faults` for each option that is wrong."""
    read = {name: _number(request, name, kind, faults) for name, kind in _LAUNCH.items()}
    values = {name: value for name, value in read.items() if value is not None}
    if request.launcher in LAUNCHERS:
        values["launcher"] = request.launcher
    elif request.launcher is not None:
        hint = close_names(request.launcher, list(LAUNCHERS))
        known = ", ".join(LAUNCHERS)
        faults.append(f"--launcher {request.launcher!r} is not one of {known}{hint}")
    return LaunchConfig(**values)


def read_seed(request: Request, faults: list[str]) -> int | None:
    """Returns the seed, None where none was given; adds a line to `faults` where it is wrong."""
    seed = _number(request, "seed", int, faults)
    if seed is not None and not 0 <= seed < 2**32:
        faults.append(f"--seed {seed} is outside [0, 2^32)")
        return None
    return None if seed is None else int(seed)


def read_limits(request: Request, faults: list[str]) -> Limits:
    """Returns how far this session may go; adds a line to `faults` for each option at fault."""
    most = _number(request, "max_failures", int, faults)
    return Limits(
        max_failures=Limits.max_failures if most is None else most,
        trials=_number(request, "trials", int, faults),
        time_budget_s=_number(request, "time_budget", seconds, faults),
    )


def _number(request: Request, field: str, kind: Callable[[str], Any], faults: list[str]) -> Any:
    """Returns the value of an option; None where there is none, or `faults` now says why."""
    text, flag = getattr(request, field), "--" + field.replace("_", "-")
    try:
        value = None if text is None else kind(text)
    except ValueError:
        faults.append(f"{flag} {text!r} is not {_WANTED[kind]}")
        return None
    if value is not None and field in _LEAST and value < _LEAST[field]:
        faults.append(f"{flag} {value} is below {_LEAST[field]}")
        return None
    return value
