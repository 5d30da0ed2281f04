"""Holds the options of a command line as they were given, and reads numbers and times in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, get_args

from platform.plan.limits import Limits, seconds
from platform.plan.plan import LaunchConfig, Launcher
from trainables.utils.errors import UserError
from trainables.utils.text import close_names

LAUNCHERS: tuple[str, ...] = get_args(Launcher)
_Made = TypeVar("_Made")
_WHOLE = "a whole number"
_LAUNCH: dict[str, tuple[Callable[[str], Any], str]] = {
    "workers": (int, _WHOLE),
    "gpus_per_trial": (float, "a number"),
    "max_concurrent": (int, _WHOLE),
}
# of `Limits`: the option, how its text is read, what it is to be, the least that it may be
_LIMITS: dict[str, tuple[str, Callable[[str], Any], str, int]] = {
    "max_failures": ("max_failures", int, _WHOLE, 0),
    "trials": ("trials", int, _WHOLE, 1),
    "time_budget_s": ("time_budget", seconds, "a time such as 90m or 2h30m", 0),
}


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


def read_launch(request: Request, faults: list[str]) -> LaunchConfig:
    """Returns how trials are launched; adds a line to `faults` for each option that is wrong."""
    values: dict[str, Any] = {}
    for field, (kind, wanted) in _LAUNCH.items():
        value = _number(request, field, kind, wanted, faults)
        if value is not None:
            values[field] = value
    if request.launcher in LAUNCHERS:
        values["launcher"] = request.launcher
    elif request.launcher is not None:
        hint = close_names(request.launcher, list(LAUNCHERS))
        known = ", ".join(LAUNCHERS)
        faults.append(f"--launcher {request.launcher!r} is not one of {known}{hint}")
    return LaunchConfig(**values)


def read_seed(request: Request, faults: list[str]) -> int | None:
    """Returns the seed, None where none was given; adds a line to `faults` where it is wrong."""
    seed = _number(request, "seed", int, _WHOLE, faults)
    if seed is not None and not 0 <= seed < 2**32:
        faults.append(f"--seed {seed} is outside [0, 2^32)")
        return None
    return None if seed is None else int(seed)


def read_limits(request: Request, faults: list[str]) -> Limits:
    """Returns how far this session may go; adds a line to `faults` for each option at fault."""
    values: dict[str, Any] = {}
    for field, (option, kind, wanted, least) in _LIMITS.items():
        value = _number(request, option, kind, wanted, faults)
        if value is not None and value < least:
            faults.append(f"{_flag(option)} {value} is below {least}")
        elif value is not None:
            values[field] = value
    return Limits(**values)


def _number(
    request: Request, field: str, kind: Callable[[str], Any], wanted: str, faults: list[str]
) -> Any:
    text = getattr(request, field)
    try:
        return None if text is None else kind(text)
    except ValueError:
        faults.append(f"{_flag(field)} {text!r} is not {wanted}")
        return None


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")
