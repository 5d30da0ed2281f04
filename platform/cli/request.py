"""What the command line asks for -> Plan: every fault of a call found before it ends."""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

from platform.plan import resources
from platform.plan.build import make_plan
from platform.plan.limits import Limits, seconds
from platform.plan.overrides import parse_settings
from platform.plan.plan import LaunchConfig, Launcher, Plan, difference, is_abandoned, read_plan
from platform.plan.resources import Machine
from platform.plan.study_loader import NAME, NAMES, StudyError, find_study, is_file
from platform.storage import replica
from search_spaces import STUDIES, SearchConfig, Study
from trainables.config import TrialConfig, to_dict
from trainables.config.overrides import flatten
from trainables.utils.addresses import is_address
from trainables.utils.errors import ConfigError, UserError
from trainables.utils.text import close_names

LAUNCHERS: tuple[str, ...] = get_args(Launcher)
_DATA_PATHS = ("root", "proxy_root", "split_file")
_OURS = ("cache", "mlartifacts", "mlflow.db")  # what the storage holds besides sweeps
_LAUNCH: dict[str, tuple[Callable[[str], Any], str]] = {
    "workers": (int, "a whole number"),
    "gpus_per_trial": (float, "a number"),
    "max_concurrent": (int, "a whole number"),
}


class Request(argparse.Namespace):
    """The options as they were given: texts, or None where they were not.

    Attributes:
        study: positional.
        set: `key=value`, in order.
        storage, name, seed, workers, gpus_per_trial, max_concurrent, launcher: see `--help`.
        tracking_uri: of an MLflow server.
        address: of a Ray cluster that runs; None for a Ray of the sweep's own.
        machines: that trials run on, once they are known.
        sync: of a sweep.
        max_failures, time_budget, trials: see `--help`.
        limits: what those three say, once they are read.
        list, fields, dry_run, resume, retry_failed, no_reuse, no_report, strict, debug: flags.
    """

    study: str | None = None
    set: list[str]
    storage: str = "runs"
    name: str | None = None
    seed: str | None = None
    workers: str | None = None
    gpus_per_trial: str | None = None
    max_concurrent: str | None = None
    launcher: str | None = None
    tracking_uri: str | None = None
    address: str | None = None
    machines: tuple[Machine, ...] = ()
    sync: str | None = None
    max_failures: str | None = None
    time_budget: str | None = None
    trials: str | None = None
    limits: Limits | None = None
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
    def settings(self) -> tuple[str, ...]:
        """The user's settings, the flag that stands for one among them."""
        return (*self.set, *(["data.strict=true"] if self.strict else []))


def studies() -> list[str]:
    """Every study in a line: its name, its cost, what it answers."""
    width = max(len(name) for name in STUDIES)
    return [f"{name:<{width}}  {study.question} ({study.cost})" for name, study in STUDIES.items()]


def fields() -> list[str]:
    """Every field that `--set` takes, a line each, with its default."""
    usual = flatten(to_dict(TrialConfig()))
    usual |= {f"search.{name}": value for name, value in dataclasses.asdict(SearchConfig()).items()}
    width = max(map(len, usual))
    return [
        f"{name:<{width}}  {','.join(value) if isinstance(value, list) else value}".rstrip()
        for name, value in usual.items()
    ]


def plan_request(request: Request, faults: list[str]) -> tuple[Request, Plan]:
    """The plan of a request.

    Args:
        request: the options.
        faults: those already found.

    Raises:
        ConfigError: every fault of the call, together.
    """
    faults = list(faults)
    launch = _launch(request, faults)
    seed = _number(request.seed, "--seed", int, "a whole number", faults)
    if seed is not None and not 0 <= seed < 2**32:
        faults.append(f"--seed {seed} is outside [0, 2^32)")
        seed = None
    request.limits = _limits(request, faults)
    _find_storage(request, faults)
    if request.sync is not None:
        if request.name not in (None, request.sync):
            faults.append(f"--sync {request.sync} and --name {request.name} name two sweeps")
        request.name = request.sync
    request.resume |= request.retry_failed or request.sync is not None
    make = _resumed if request.resume else _new
    plan = make(request, launch, seed, faults)
    faults += _away_problems(request, plan)
    request.machines = _machines(request, faults)
    faults += resources.problems(plan.launch if plan else launch, *request.machines)
    if plan is not None and not faults:
        from platform.plan.estimate import disk_problems

        faults += disk_problems(plan)
    if faults or plan is None:
        raise ConfigError(list(dict.fromkeys(faults)))
    return request, plan


def _machines(request: Request, faults: list[str]) -> tuple[Machine, ...]:
    """What trials run on: this machine, or the nodes of a cluster, which is joined for it."""
    if request.address is not None and request.sync is None and not faults:
        from platform.execution import cluster

        try:
            cluster.join(request.address, debug=request.debug)
            return cluster.machines()
        except UserError as error:
            faults.append(str(error))
    return (resources.available(),)


def _away_problems(request: Request, plan: Plan | None) -> list[str]:
    """Places that mean another folder in each process of a cluster."""
    if request.address is None or plan is None:
        return []
    named = {"--storage": request.storage}
    for trial in plan.trials:
        config = trial.config
        named |= {f"data.{name}": getattr(config.data, name) for name in _DATA_PATHS}
        named |= {f"checkpoint {path}": path for path in config.checkpoint}
    wrong = [name for name, path in named.items() if path and not Path(path).is_absolute()]
    return [
        f"{name}={named[name]}: on a cluster a path is absolute, and the same on every node"
        for name in wrong
    ]


def _new(
    request: Request, launch: LaunchConfig, seed: int | None, faults: list[str]
) -> Plan | None:
    study = _study(request, "quickstart", faults)
    storage = Path(request.storage)
    name = request.name
    if name is not None:
        faults += _name_problems(storage, name)
    if study is None:
        return None
    return _made(
        faults,
        study,
        name=_free_name(storage, study.name) if name is None else name,
        storage=storage,
        settings=request.settings,
        seed=seed or 0,
        launch=launch,
        study_file=_study_file(request.study),
    )


def _resumed(
    request: Request, launch: LaunchConfig, seed: int | None, faults: list[str]
) -> Plan | None:
    """The recorded plan, which what is asked for now must not change."""
    storage = Path(request.storage)
    name = _newest(storage, request.study) if request.name is None else request.name
    if name is None:
        of_study = f" of {request.study}" if request.study else ""
        faults.append(f"--resume: {storage} holds no sweep{of_study}; --storage names its folder")
        return None
    if not _exists(storage / name / "plan.json"):
        known = _sweeps(storage)
        there = f"; {storage} holds {', '.join(known[:8]) or 'none'}"
        option = "--resume" if request.sync is None else "--sync"
        faults.append(f"{option}: no sweep {name!r}{close_names(name, known)}{there}")
        return None
    try:
        recorded = read_plan(storage / name)
    except UserError as error:
        faults.append(str(error))
        return None
    kept = dataclasses.replace(recorded.launch, max_concurrent=launch.max_concurrent)
    given = {
        field: getattr(launch, field)
        for field in ("workers", "gpus_per_trial", "launcher")
        if getattr(request, field) is not None
    }
    kept = dataclasses.replace(kept, **given)
    asked: Plan | None = dataclasses.replace(recorded, launch=kept)
    if request.study or request.settings or seed is not None:
        study = _study(request, recorded.study_file or recorded.study, faults)
        if study is None:
            return None
        asked = _made(
            faults,
            study,
            name=name,
            storage=storage,
            settings=_over(recorded.settings, request.settings),
            seed=recorded.seed if seed is None else seed,
            launch=kept,
            study_file=recorded.study_file,
        )
    if asked is None:
        return None
    changed = difference(recorded, asked)
    if changed:
        shown = "; ".join(changed[:6]) + (f"; and {len(changed) - 6} more" if changed[6:] else "")
        faults.append(
            f"--resume goes on with {name!r} as it was planned, and this call changes it "
            f"({shown}): leave these options out, or take another --name"
        )
        return None
    return dataclasses.replace(recorded, launch=kept)


def _over(recorded: tuple[str, ...], given: tuple[str, ...]) -> tuple[str, ...]:
    """The recorded settings, those that are given anew in their place."""
    named = {text.partition("=")[0].strip() for text in given}
    return (*(text for text in recorded if text.partition("=")[0].strip() not in named), *given)


def _made(faults: list[str], study: Study, **options: Any) -> Plan | None:
    try:
        return make_plan(study, **options)
    except ConfigError as error:
        faults += error.problems
        return None


def _study(request: Request, usual: str, faults: list[str]) -> Study | None:
    """The study; where there is none, the settings are looked at all the same."""
    try:
        return find_study(request.study or usual)
    except StudyError as error:
        faults.append(str(error))
        faults += parse_settings(request.settings)[1]
        return None


def _study_file(name: str | None) -> str:
    return str(Path(name).absolute()) if name and is_file(name) else ""


def _launch(request: Request, faults: list[str]) -> LaunchConfig:
    values: dict[str, Any] = {}
    for field, (kind, wanted) in _LAUNCH.items():
        option = "--" + field.replace("_", "-")
        value = _number(getattr(request, field), option, kind, wanted, faults)
        if value is not None:
            values[field] = value
    if request.launcher is not None:
        if request.launcher in LAUNCHERS:
            values["launcher"] = request.launcher
        else:
            hint = close_names(request.launcher, list(LAUNCHERS))
            known = ", ".join(LAUNCHERS)
            faults.append(f"--launcher {request.launcher!r} is not one of {known}{hint}")
    return LaunchConfig(**values)


def _limits(request: Request, faults: list[str]) -> Limits:
    values: dict[str, Any] = {}
    wanted = "a time such as 90m or 2h30m"
    for field, kind, told, least in (
        ("max_failures", int, "a whole number", 0),
        ("trials", int, "a whole number", 1),
        ("time_budget", seconds, wanted, 0),
    ):
        option = "--" + field.replace("_", "-")
        value = _number(getattr(request, field), option, kind, told, faults)
        if value is not None and value < least:
            faults.append(f"{option} {value} is below {least}")
        elif value is not None:
            values["time_budget_s" if field == "time_budget" else field] = value
    return Limits(**values)


def _number(
    text: str | None, option: str, kind: Callable[[str], Any], wanted: str, faults: list[str]
) -> Any:
    if text is None:
        return None
    try:
        return kind(text)
    except ValueError:
        faults.append(f"{option} {text!r} is not {wanted}")
        return None


def _find_storage(request: Request, faults: list[str]) -> None:
    """Behind an address lies what this node has a folder for, which stands in its place."""
    if is_address(request.storage):
        try:
            request.storage = str(replica.find(request.storage))
        except UserError as error:
            faults.append(str(error))
            request.storage = "runs"  # what else is wrong is told too
    _look_at_storage(Path(request.storage), faults)


def _look_at_storage(storage: Path, faults: list[str]) -> None:
    there = next(
        each for each in (storage.absolute(), *storage.absolute().parents) if _exists(each)
    )
    if not there.is_dir():
        faults.append(f"--storage {storage}: {there} is a file")
    elif not os.access(there, os.W_OK | os.X_OK):
        faults.append(f"--storage {storage}: {there} is not writable")


def _name_problems(storage: Path, name: str) -> list[str]:
    if not NAME.fullmatch(name) or name in _OURS:
        return [f"--name {name!r} is no name for a sweep: {NAMES}, and not {' or '.join(_OURS)}"]
    if _is_in_use(storage / name):
        return [
            f"--name {name} is in use in {storage}: --resume goes on with it, "
            f"and {_free_name(storage, name)} is free"
        ]
    return []


def _free_name(storage: Path, name: str) -> str:
    number, free = 1, name
    while _is_in_use(storage / free):
        number += 1
        free = f"{name}-{number}"
    return free


def _is_in_use(path: Path) -> bool:
    return _exists(path) and not is_abandoned(path)


def _exists(path: Path) -> bool:
    """Whether something is there, as far as this user may know."""
    try:
        return path.exists()
    except OSError:
        return False


def _sweeps(storage: Path) -> list[str]:
    return sorted(path.parent.name for path in storage.glob("*/plan.json"))


def _newest(storage: Path, study: str | None) -> str | None:
    """The sweep that was planned last, of a study if one is given."""
    plans = sorted(storage.glob("*/plan.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in plans:
        try:
            recorded = read_plan(path.parent)
        except UserError:
            if study is None:  # the one that is meant, whatever ails it
                return path.parent.name
            continue
        if study in (None, recorded.study) or _study_file(study) == recorded.study_file != "":
            return recorded.name
    return None
