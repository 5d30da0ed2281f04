"""Makes the plan that a call asks for, new or resumed, and finds every fault of the call."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from platform.cli import sweep_names
from platform.cli.request import Request, attempt, read_launch, read_limits, read_seed
from platform.plan import hardware, resources
from platform.plan.build import make_plan
from platform.plan.estimate import disk_problems
from platform.plan.hardware import Machine
from platform.plan.overrides import parse_overrides
from platform.plan.plan import LaunchConfig, Limits, Outstanding, Plan
from platform.plan.serialization import difference, read_plan
from platform.plan.settings import unread_settings
from platform.plan.study_loader import find_study
from search_spaces import Study
from trainables.utils.errors import ConfigError, UserError
from trainables.utils.text import close_names, first_few

_DATA_PATHS = ("root", "proxy_root", "split_file")
_MOST_NAMES, _MOST_CHANGES = 8, 6


@dataclass(frozen=True, kw_only=True)
class SweepCall:
    """What a call asks for, once no fault is found in it.

    Attributes:
        plan: the sweep.
        request: the options; `resume` is set also where another option implies it.
        limits: of this session.
        machines: that trials run on; this one where there are none.
        left: what of a resumed sweep is outstanding; None of a new one, or where it is not known.
    """

    plan: Plan
    request: Request = field(default_factory=Request)
    limits: Limits = field(default_factory=Limits)
    machines: tuple[Machine, ...] = ()
    left: Outstanding | None = None


def plan_request(request: Request, faults: list[str]) -> SweepCall:
    """Plans what a call asks for; joins the cluster that it names.

    Args:
        request: the options.
        faults: those already found, a line each.

    Raises:
        ConfigError: every fault of the call, together.
    """
    faults = list(faults)
    launch, seed = read_launch(request, faults), read_seed(request, faults)
    limits = read_limits(request, faults)
    request = _settled(request, faults)
    make = _resumed if request.resume else _new
    plan = make(request, launch, seed, faults)
    if plan is not None and request.address is not None:
        faults += _relative_paths(plan, request.storage)
    machines = _machines(request, faults)
    faults += resources.problems(plan.launch if plan else launch, *machines)
    left = None
    if plan is not None and not faults and request.sync is None:
        left = _left(plan, request)
        faults += disk_problems(plan, left)
    if faults or plan is None:
        raise ConfigError(list(dict.fromkeys(faults)))
    return SweepCall(plan=plan, request=request, limits=limits, machines=machines, left=left)


def _left(plan: Plan, request: Request) -> Outstanding | None:
    """Returns what of a resumed sweep is outstanding; None of a new one, or an unreadable one."""
    if not request.resume:
        return None
    # a new sweep's plan can do without SQLAlchemy
    from platform.search.outstanding import read_outstanding

    try:
        return read_outstanding(plan, retry_failed=request.retry_failed, repair=request.repair)
    except (OSError, UserError):  # absent from this node, or refused when the sweep is opened
        return None


def _settled(request: Request, faults: list[str]) -> Request:
    """Returns the options with a folder as the storage, and with what other options imply."""
    known = len(faults)
    storage, name = sweep_names.find_storage(request.storage, faults), request.name
    runs_again = request.retry_failed or request.repair
    resume = request.resume or runs_again or request.sync is not None
    if resume and len(faults) > known:
        # without its storage nothing of a recorded sweep can be checked
        raise ConfigError(list(dict.fromkeys(faults)))
    if request.sync is not None:
        if name not in (None, request.sync):
            faults.append(f"--sync {request.sync} and --name {name} name two sweeps")
        name = request.sync
    return dataclasses.replace(request, storage=storage, name=name, resume=resume)


def _machines(request: Request, faults: list[str]) -> tuple[Machine, ...]:
    """Returns what trials run on: this machine, or the nodes of a cluster, which is joined."""
    if request.address is not None and request.sync is None and not faults:
        from platform.execution import cluster, nodes

        try:
            cluster.join(request.address, debug=request.debug)
            return nodes.machines()
        except UserError as error:
            faults.append(str(error))
    return (hardware.this_machine(),)


def _relative_paths(plan: Plan, storage: str) -> list[str]:
    """Returns a line for each path that means another folder in each process of a cluster."""
    named = {"--storage": storage}
    for trial in plan.trials:
        config = trial.config
        named |= {f"data.{name}": getattr(config.data, name) for name in _DATA_PATHS}
        named |= {f"checkpoint {path}": path for path in config.checkpoint}
    return [
        f"{name}={path}: on a cluster a path is absolute, and the same on every node"
        for name, path in named.items()
        if path and not Path(path).is_absolute()
    ]


def _new(
    request: Request, launch: LaunchConfig, seed: int | None, faults: list[str]
) -> Plan | None:
    study = _study(request, "quickstart", faults)
    storage = Path(request.storage)
    name = request.name
    if name is not None:
        faults += sweep_names.name_problems(storage, name)
    if study is None:
        return None
    make = partial(
        make_plan,
        study,
        name=sweep_names.free_name(storage, study.name) if name is None else name,
        storage=storage,
        overrides=request.overrides,
        seed=seed or 0,
        launch=launch,
        study_file=sweep_names.study_file(request.study),
    )
    plan = attempt(faults, make)
    faults += unread_settings(study, plan) if plan else []
    own = study.base.seed
    if plan and seed == 0 != own and any(trial.config.seed == own for trial in plan.trials):
        faults.append(f"--seed 0 leaves the study's seed={own}: --set seed=0 changes it")
    return plan


def _resumed(
    request: Request, launch: LaunchConfig, seed: int | None, faults: list[str]
) -> Plan | None:
    """Returns the recorded plan, which the options of this call must not change."""
    recorded = _recorded(request, faults)
    if recorded is None:
        return None
    given = {
        name: getattr(launch, name)
        for name in ("workers", "gpus_per_trial", "launcher")
        if getattr(request, name) is not None
    }
    kept = dataclasses.replace(recorded.launch, max_concurrent=launch.max_concurrent, **given)
    resumed = dataclasses.replace(recorded, launch=kept)
    asked = _planned_anew(request, resumed, seed, faults)
    changed = difference(recorded, asked) if asked else []
    if changed:
        more = len(changed) - _MOST_CHANGES
        shown = "; ".join(changed[:_MOST_CHANGES]) + (f"; and {more} more" if more > 0 else "")
        faults.append(
            f"--resume goes on with {recorded.name!r} as it was planned, and this call changes it "
            f"({shown}): leave these options out, or take another --name"
        )
    return resumed if asked and not changed else None


def _recorded(request: Request, faults: list[str]) -> Plan | None:
    """Returns the plan of the sweep that a call names, or else of the newest."""
    storage = Path(request.storage)
    name = request.name
    if name is None:
        name = sweep_names.newest(storage, request.study)
    if name is None:
        of_study = f" of {request.study}" if request.study else ""
        faults.append(f"--resume: {storage} holds no sweep{of_study}; --storage names its folder")
        return None
    if not sweep_names.exists(storage / name / "plan.json"):
        known = sweep_names.sweep_names(storage)
        held = first_few(known, _MOST_NAMES) or "none"
        option = "--resume" if request.sync is None else "--sync"
        close = close_names(name, known)
        faults.append(f"{option}: no sweep {name!r}{close}; {storage} holds {held}")
        return None
    return attempt(faults, lambda: read_plan(storage / name))


def _planned_anew(
    request: Request, recorded: Plan, seed: int | None, faults: list[str]
) -> Plan | None:
    """Returns the recorded sweep as the options of this call would plan it today."""
    if not (request.study or request.overrides or seed is not None):
        return recorded
    study = _study(request, recorded.study_file or recorded.study, faults)
    if study is None:
        return None
    make = partial(
        make_plan,
        study,
        name=recorded.name,
        storage=recorded.storage,
        overrides=_over(recorded.overrides, request.overrides),
        seed=recorded.seed if seed is None else seed,
        launch=recorded.launch,
        study_file=recorded.study_file,
    )
    return attempt(faults, make)


def _over(recorded: tuple[str, ...], given: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the recorded overrides, with those that are given anew in their place."""
    named = {text.partition("=")[0].strip() for text in given}
    return (*(text for text in recorded if text.partition("=")[0].strip() not in named), *given)


def _study(request: Request, usual: str, faults: list[str]) -> Study | None:
    """Returns the study; where there is none, looks for faults of the overrides all the same."""
    study = attempt(faults, lambda: find_study(request.study or usual))
    if study is None:
        faults += parse_overrides(request.overrides)[1]
    return study
