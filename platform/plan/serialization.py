"""Writes plans to `plan.json` and reads them back; says what tells two plans apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from optuna.distributions import distribution_to_json, json_to_distribution

from platform.plan.plan import Group, LaunchConfig, Plan, PlannedTrial
from search_spaces.study import SearchConfig
from trainables.config import to_dict
from trainables.config.overrides import from_dict
from trainables.utils.errors import UserError
from trainables.utils.files import write_json
from trainables.utils.hashing import content_key, read_sealed, seal
from trainables.utils.text import flatten, one_line

_TEXTS = ("name", "study", "study_file", "question")


class PlanError(UserError):
    """A `plan.json` that is missing, damaged or not of this program."""


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """Returns a plan as plain values that JSON can hold."""
    return {
        **{name: getattr(plan, name) for name in _TEXTS},
        "storage": str(plan.storage),
        "seed": plan.seed,
        "settings": list(plan.overrides),  # the name in the files of all versions
        "launch": asdict(plan.launch),
        "search": asdict(plan.search),
        "groups": [
            {
                **vars(group),
                "config": to_dict(group.config),
                "space": {n: distribution_to_json(axis) for n, axis in group.space.items()},
            }
            for group in plan.groups
        ],
        "trials": [{**vars(trial), "config": to_dict(trial.config)} for trial in plan.trials],
    }


def plan_from_dict(values: Mapping[str, Any]) -> Plan:
    """Returns the plan that `plan_to_dict` was given.

    Raises:
        PlanError: something is missing, of another type, or unknown to this version.
    """
    try:
        _check_types(values, dict.fromkeys((*_TEXTS, "storage"), str))
        _check_types(values, {"seed": int, **dict.fromkeys(("settings", "groups", "trials"), list)})
        _check_types(values["launch"], {"workers": int, "gpus_per_trial": float | int})
        _check_types(values["launch"], {"launcher": str, "max_concurrent": int | None})
        usual = asdict(SearchConfig())
        _check_types(values["search"], {n: type(usual[n]) for n in values["search"]})
        return Plan(
            **{name: values[name] for name in _TEXTS},
            storage=Path(values["storage"]),
            seed=values["seed"],
            overrides=tuple(values["settings"]),
            launch=LaunchConfig(**values["launch"]),
            search=SearchConfig(**values["search"]),
            groups=tuple(_group(group) for group in values["groups"]),
            trials=tuple(_trial(trial) for trial in values["trials"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
        raise PlanError(
            f"planned by another version of this program, or altered: {_line(error)}"
        ) from error


def _check_types(values: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    """Refuses a value of another type, which would else be met wherever it is used."""
    for name, wanted in types.items():
        if not isinstance(values[name], wanted):
            raise TypeError(f"{name} is {values[name]!r}")


def _group(values: Mapping[str, Any]) -> Group:
    _check_types(values, {"label": str, "name": str, "trials": int, "replicates": int})
    space = {name: json_to_distribution(axis) for name, axis in values["space"].items()}
    return Group(**{**values, "config": from_dict(values["config"]), "space": space})


def _trial(values: Mapping[str, Any]) -> PlannedTrial:
    _check_types(values, dict.fromkeys(("group", "group_name", "name", "kind"), str))
    _check_types(values, {"number": int, "params": dict})
    trial = PlannedTrial(**{**values, "config": from_dict(values["config"])})
    if trial.key != trial.config.key():
        raise ValueError(f"the key of trial {trial.name} is not its configuration's")
    return trial


def _line(error: Exception) -> str:
    text = one_line(error)
    return f"{text} is missing" if isinstance(error, KeyError) else text


def write_plan(plan: Plan) -> Path:
    """Writes `plan.json` into the sweep's folder, whole, and returns its path."""
    path = plan.folder / "plan.json"
    write_json(path, seal(plan_to_dict(plan)))
    return path


def read_plan(folder: Path) -> Plan:
    """Returns the plan of a sweep's folder, in the storage where the folder now lies.

    Raises:
        PlanError: `plan.json` is missing, damaged or of another version.
    """
    path = folder / "plan.json"
    try:
        values = read_sealed(path)
    except (OSError, ValueError) as error:
        raise PlanError(f"{path} cannot be read: {_line(error)}") from error
    try:
        return plan_from_dict({**values, "storage": str(folder.parent), "name": folder.name})
    except PlanError as error:
        raise PlanError(f"{path} was {error}; environment.json names the commit") from error


def is_abandoned(folder: Path) -> bool:
    """Reports whether a folder is what a sweep left that was killed before it was planned."""
    if not folder.is_dir() or folder.is_symlink():
        return False
    left = {path.name.removeprefix(".").partition(".")[0] for path in folder.iterdir()}
    planned = (folder / "plan.json").exists()
    return not planned and left <= {"ledger", "manifest", "refused", "plan"}


def plan_digest(plan: Plan) -> str:
    """Returns twelve hexadecimal digits, equal for plans that one sweep may be resumed by."""
    return content_key(_substance(plan))


def _substance(plan: Plan) -> dict[str, Any]:
    """Returns all but where the sweep lies and how many trials run at once: they change no result.

    Names, questions and overrides are left out too, as the trials follow from the fields alone.
    """
    values = plan_to_dict(plan)
    for name in ("name", "storage", "settings", "question", "study_file"):
        del values[name]
    del values["launch"]["max_concurrent"]
    return values


def difference(old: Plan, new: Plan) -> list[str]:
    """Lists what a resumed sweep would change, a line a field: `name: old -> new`.

    Args:
        old: the recorded plan.
        new: the plan that is asked for now.

    Returns:
        The lines; none where the sweep can go on by the new plan.
    """
    if plan_digest(old) == plan_digest(new):
        return []
    before, after = _substance(old), _substance(new)
    groups = [{each.pop("name"): each for each in plan.pop("groups")} for plan in (before, after)]
    for values in (before, after, *groups[0].values(), *groups[1].values()):
        del values["trials"]  # they follow from all the rest
    pairs = [(before, after), *((groups[0][n], groups[1][n]) for n in groups[0] if n in groups[1])]
    changed = [
        f"{name.removeprefix('config.')}: {was.get(name, 'none')} -> {now.get(name, 'none')}"
        for was, now in ((flatten(was), flatten(now)) for was, now in pairs)
        for name in dict.fromkeys([*was, *now])
        if was.get(name) != now.get(name)
    ]
    changed += [f"variant {name}: no longer there" for name in groups[0] if name not in groups[1]]
    changed += [f"variant {name}: new" for name in groups[1] if name not in groups[0]]
    return list(dict.fromkeys(changed)) or ["the trials that follow from the same options"]
