"""Finds what is wrong with a study itself, and what it sets that none of its trials reads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from optuna.distributions import BaseDistribution

from platform.plan.grid import Cell, study_cells
from platform.plan.overrides import search_faults
from platform.plan.settings import unread_search, unread_values
from search_spaces import SearchConfig, Study
from trainables.config import FamilyName, ModelName, TrialConfig, to_dict
from trainables.config.readers import DEFAULTS
from trainables.utils.text import close_names, flatten


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

    Where it cannot run without an option of the user, such as a folder of images, nobody knows.
    """
    cells = study_cells(study)
    if cells is None:
        return []
    configs = [config for cell in cells for config in (cell.group.config, *cell.points)]
    faults = []
    for place, name, values, models in _settings(study):
        held = [config for config in configs if not models or config.model in models]
        if held and name in DEFAULTS:
            faults += [f"{place}: {line}" for line in unread_values(name, values, held)]
    searched = {name for cell in cells for name in cell.group.space}
    faults += [
        f"space: no result of this study depends on {name}: leave it out"
        for name in study.space
        if name not in searched
    ]
    return faults + _unread_search(study, cells)


def _settings(study: Study) -> Iterator[tuple[str, str, tuple[Any, ...], tuple[str, ...]]]:
    """Yields (part of the study, field, values, models that have it; empty for all)."""
    base = flatten(to_dict(study.base))
    yield from (("base", name, (value,), ()) for name, value in base.items())
    for name in ("variants", "points"):
        for each in getattr(study, name):
            yield from ((name, field, (value,), ()) for field, value in each.items())
    yield from (("axes", name, tuple(values), ()) for name, values in study.axes.items())
    models = tuple(study.models) or (study.base.model,)
    for model, own in study.models.items():
        yield from (("models", name, (value,), (model,)) for name, value in own.items())
    for family, shared in study.families.items():
        kin = tuple(model for model in models if model.startswith(f"{family}_"))
        if kin:
            yield from (("families", name, (value,), kin) for name, value in shared.items())


def _unread_search(study: Study, cells: Sequence[Cell]) -> list[str]:
    usual = SearchConfig()
    given = {n: v for n, v in vars(study.search).items() if v != getattr(usual, n)}
    trials_of = {
        str(name): own["search.trials"]
        for name, own in itertools.chain(study.models.items(), study.families.items())
        if "search.trials" in own
    }
    return unread_search(given, trials_of, study.search, [cell.group for cell in cells])
