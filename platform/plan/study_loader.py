"""Finds a study by its name among the product's own, or reads it from a file of the user's."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution

from platform.plan.overrides import search_faults
from search_spaces import STUDIES, SearchConfig, Study
from trainables.config import TrialConfig
from trainables.utils.errors import ConfigError, UserError
from trainables.utils.text import close_names, one_line

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
    faults = study_faults(study)
    if faults:
        raise StudyError(f"{path}: {'; '.join(faults)}")
    return study


def study_faults(study: Study) -> list[str]:
    """Returns a line for each field of a study that has another type than it should.

    A single value in parentheses is no tuple to Python: the line says how to write one.
    """
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
