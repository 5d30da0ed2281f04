"""Finds a study by its name, or reads it from a user's file and says what is wrong with it."""

from __future__ import annotations

import importlib.util
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from optuna.distributions import BaseDistribution

from platform.plan.grid import Cell, searched_configs, study_cells
from platform.plan.overrides import family_of, search_faults
from platform.plan.settings import unread_search, unread_values
from search_spaces import STUDIES, SearchConfig, Study
from trainables.config import FamilyName, ModelName, TrialConfig, to_dict
from trainables.config.readers import DEFAULTS
from trainables.utils.errors import ConfigError, UserError
from trainables.utils.text import close_names, flatten, one_line

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAMES = "up to 64 letters, digits, '.', '_' and '-', the first a letter or digit"


class StudyError(UserError):
    """A user's file that holds no study."""


def is_file(name: str) -> bool:
    """Reports whether a study is named by its file."""
    return name.endswith(".py")


def find_study(name: str) -> Study:
    """Returns a study by its name, or the `STUDY` of a Python file by its path.

    Raises:
        StudyError: there is no such study or file, or the file holds none; in one line.
    """
    if is_file(name):
        return _read(Path(name))
    if name not in STUDIES:
        raise StudyError(
            f"unknown study {name!r}{close_names(name, list(STUDIES))}; --list shows all, and a "
            "file of your own is named by its path, FILE.py"
        )
    return STUDIES[name]


def _read(path: Path) -> Study:
    """Runs the file: it is the user's own program, like any that is given to Python."""
    if not path.is_file():
        raise StudyError(f"{path} is not a file")
    spec = importlib.util.spec_from_file_location(f"study_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise StudyError(f"{path} cannot be read as Python")
    module = importlib.util.module_from_spec(spec)
    try:
        with warnings.catch_warnings():
            # Optuna moves the end of such a range, and warns
            warnings.filterwarnings("error", ".*not divisible by `step`")
            spec.loader.exec_module(module)
    except ConfigError as error:
        raise StudyError(f"{path}: {'; '.join(error.problems)}") from error
    except Exception as error:
        raise StudyError(f"{path}: {type(error).__name__}: {one_line(error)}") from error
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise StudyError(f"{path} holds no STUDY = Study(...) of search_spaces.study")
    if not NAME.fullmatch(study.name):
        raise StudyError(f"{path}: name={study.name!r} is no name for a sweep: {NAMES}")
    try:
        faults = study_faults(study)
    except ConfigError as error:  # such as an unknown field in its space
        faults = error.problems
    if faults:
        raise StudyError(f"{path}: {'; '.join(faults)}")
    return study


def study_faults(study: Study) -> list[str]:
    """Returns a line for each field of a study that is wrong, or that changes nothing in it.

    A single value in parentheses is no tuple to Python: the line says how to write one.
    """
    return _wrong_types(study) or _contradictions(study) or _unread(study)


def _wrong_types(study: Study) -> list[str]:
    faults = [
        f"{name} is no {wanted.__name__}(...)"
        for name, wanted in (("base", TrialConfig), ("search", SearchConfig))
        if not isinstance(getattr(study, name), wanted)
    ]
    for name in ("variants", "points"):
        value = getattr(study, name)
        if not _is_list(value) or not all(isinstance(each, Mapping) for each in value):
            faults.append(f'{name}={value!r} is not a tuple such as ({{"method": "ours"}},)')
    if not study.variants:
        faults.append("variants is empty: it names what is compared")
    faults += [
        f"axes: {name}={values!r} is not a tuple; one value is written ({values!r},)"
        for name, values in study.axes.items()
        if not _is_list(values)
    ]
    space: Mapping[str, Any] = study.space  # as the user's file has it
    faults += [
        f"space: {name}={axis!r} is no distribution of optuna.distributions"
        for name, axis in space.items()
        if not isinstance(axis, BaseDistribution)
    ]
    return faults or search_faults(study.search)


def _is_list(value: Any) -> bool:
    return isinstance(value, tuple | list)


def _contradictions(study: Study) -> list[str]:
    """Returns a line for each field that another of the study takes the place of."""
    known = {"models": ModelName, "others": ModelName, "families": FamilyName}
    faults = [
        f"{table}: unknown name {name!r}{close_names(name, list(get_args(names)))}"
        for table, names in known.items()
        for name in getattr(study, table)
        if name not in get_args(names)
    ]
    faults += [
        f"axes: {name}=() has no value: leave it out, or give one"
        for name, values in study.axes.items()
        if not values
    ]
    faults += [
        f"space: {name} has one value, so that nothing is searched: give it in base or variants"
        for name, axis in study.space.items()
        if axis.single()
    ]
    places = dict(_places(study))
    faults += [
        f"{there}: model={place['model']!r} is not read: models names the models"
        for there, place in places.items()
        if "model" in place
    ]
    faults += [
        f"{first}: {name} is also in {second}, which takes its place: leave one out"
        for first, second in (("variants", "axes"), ("points", "axes"), ("space", "axes"))
        for name in places[first]
        if name in places[second] and name != "model"
    ]
    base = study.base.model
    if study.models and base != TrialConfig().model and base not in study.models:
        faults.append(f"base: model={base!r} is not read: models names {', '.join(study.models)}")
    return faults


def _places(study: Study) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the parts of a study whose fields every model has, by their names."""
    for name in ("variants", "points"):
        merged: dict[str, Any] = {}
        for each in getattr(study, name):
            merged |= each
        yield name, merged
    yield "axes", study.axes
    yield "space", study.space


def _unread(study: Study) -> list[str]:
    """Returns a line for each thing that no trial of the study as it stands reads.

    Of a model that cannot run without an option of the user nobody knows what it reads.
    """
    cells = study_cells(study)
    faults = []
    for place, name, values, models in _settings(study, tuple(cells)):
        held = [cells[model] for model in models]
        configs = [config for each in held for cell in each or () for config in _configs(cell)]
        if name in DEFAULTS and models and None not in held:
            faults += [f"{place}: {line}" for line in unread_values(name, values, configs)]
    if None in cells.values():
        return faults
    groups = [cell.group for each in cells.values() for cell in each or ()]
    searched = {name for group in groups for name in group.space}
    faults += [
        f"space: no result of this study depends on {name}: leave it out"
        for name in study.space
        if name not in searched
    ]
    usual = SearchConfig()
    given = {n: v for n, v in vars(study.search).items() if v != getattr(usual, n)}
    trials_of = {
        str(name): own["search.trials"]
        for table in (study.models, study.others, study.families)
        for name, own in table.items()
        if "search.trials" in own
    }
    return faults + unread_search(given, trials_of, study.search, groups)


def _configs(cell: Cell) -> tuple[TrialConfig, ...]:
    return (*searched_configs(cell.group), *cell.points)


def _settings(
    study: Study, models: tuple[str, ...]
) -> Iterator[tuple[str, str, tuple[Any, ...], tuple[str, ...]]]:
    """Yields (part of the study, field, its values, those of the models that have it)."""
    base = flatten(to_dict(study.base))
    yield from (("base", name, (value,), models) for name, value in base.items())
    for part in ("variants", "points"):
        for each in getattr(study, part):
            yield from ((part, name, (value,), models) for name, value in each.items())
    yield from (("axes", name, tuple(values), models) for name, values in study.axes.items())
    for table in ("models", "others", "families"):
        for scope, own in getattr(study, table).items():
            meant = tuple(model for model in models if scope in (model, family_of(model)))
            yield from ((table, name, (value,), meant) for name, value in own.items())
