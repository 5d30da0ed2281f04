"""Retain and forget distance over the further test tasks that finished trials were measured on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from analysis.axes import Axis, Line
from analysis.comparisons import Contest, Entrant
from analysis.selection import Named, chosen
from analysis.style import Style, styles

_TASK = re.compile(
    r"(?P<kind>centre|random|left|right|up|down|outpaint|box|brush|hybrid)_(?P<ratio>[\d.]+)"
)
_NOTE = (
    "Each variant's chosen trial, or its default where none kept the retain set (marked *); test "
    "images."
)


def task_axes(contest: Contest, named: Named) -> list[Axis]:
    """An axis over the ratio for each kind of several, and one over all tasks of other kinds."""
    tasks = _tasks(contest)
    curves = {kind: ratios for kind, ratios in tasks.items() if len(ratios) > 1}
    single = {
        f"{kind} {ratio:g}": start
        for kind, ratios in tasks.items()
        if kind not in curves
        for ratio, start in ratios.items()
    }
    axes = [
        _axis(contest, named, ratios, name="ratio", kind=kind) for kind, ratios in curves.items()
    ]
    if any(single.values()):  # the task that all trials are measured on is in every table
        axes.append(_axis(contest, named, single, name="test task", kind=""))
    return axes


def _tasks(contest: Contest) -> dict[str, dict[float, str]]:
    """Kind to ratio to what stands before a metric's name; none where one task was tested."""
    found: dict[str, dict[float, str]] = {}
    for entrant in contest.entrants:
        for name, value in entrant.row.items():
            task, _, rest = name.partition("/")
            match = _TASK.fullmatch(task)
            if match and rest == "retain/fid" and value is not None:
                found.setdefault(match["kind"], {})[float(match["ratio"])] = f"{task}/"
    usual = _TASK.fullmatch(str(contest.entrants[0].row["test_task"]))
    if found and usual:  # the task that all trials are measured on
        found.setdefault(usual["kind"], {})[float(usual["ratio"])] = ""
    return found


def _axis(
    contest: Contest, named: Named, tasks: Mapping[Any, str], *, name: str, kind: str
) -> Axis:
    drawn = styles(entrant.variant for entrant in contest.entrants)
    lines = [_line(entrant, tasks, drawn, named) for entrant in contest.entrants]
    return Axis(
        name=name,
        stem=f"{contest.stem}_tasks_{kind}" if kind else f"{contest.stem}_tasks",
        title=f"{contest.title}: test task{f' {kind}' if kind else 's'}",
        lines=tuple(line for line in lines if line is not None),
        note=_NOTE,
    )


def _line(
    entrant: Entrant, tasks: Mapping[Any, str], drawn: Mapping[str, Style], named: Named
) -> Line | None:
    variant = entrant.variant
    best = None if variant.is_reference else chosen(entrant, named.tolerance)
    point = best or entrant.default
    if point is None:
        return None
    values = {
        task: (point.estimate(f"{start}retain/fid"), point.estimate(f"{start}forget/fid"))
        for task, start in sorted(tasks.items())
    }
    if not any(any(pair) for pair in values.values()):
        return None
    star = "" if best or variant.is_reference else " *"
    return Line(label=variant.label + star, style=drawn[variant.group], values=values)
