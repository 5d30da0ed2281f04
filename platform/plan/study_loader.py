"""Finds a study by its name among the product's own, or reads it from a file of the user's."""

from __future__ import annotations

import importlib.util
import re
import warnings
from pathlib import Path

from platform.plan.study_faults import study_faults
from search_spaces import STUDIES, Study
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
    faults = study_faults(study)
    if faults:
        raise StudyError(f"{path}: {'; '.join(faults)}")
    return study
