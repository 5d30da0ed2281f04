"""Makes the axes over the further test tasks that finished trials were measured on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from analysis.axes import Axis, Line
from analysis.comparisons import Comparison, Member
from analysis.criterion import Criterion
from analysis.selection import chosen
from analysis.style import Style, styles
from analysis.trial_configs import further_tasks, split_task

_NOTE = (
    "Each variant's chosen trial, or its default where none kept the retain set (marked *); test "
    "images."
)


def task_axes(comparison: Comparison, criterion: Criterion) -> list[Axis]:
    """Returns an axis over the ratio for each kind of several ratios, and one over other tasks."""
    tasks = _tasks(comparison)
    curves = {kind: ratios for kind, ratios in tasks.items() if len(ratios) > 1}
    single = {
        f"{kind} {ratio:g}": prefix
        for kind, ratios in tasks.items()
        if kind not in curves
        for ratio, prefix in ratios.items()
    }
    axes = [
        _axis(comparison, criterion, ratios, name="ratio", kind=kind)
        for kind, ratios in curves.items()
    ]
    if any(single.values()):  # the task that all trials are measured on is in every table
        axes.append(_axis(comparison, criterion, single, name="test task", kind=""))
    return axes


def _tasks(comparison: Comparison) -> dict[str, dict[float, str]]:
    """Returns kind to ratio to the prefix of its metrics; empty where one task was tested."""
    found: dict[str, dict[float, str]] = {}
    for member in comparison.members:
        for task in further_tasks(member.row):
            kind, ratio = split_task(task)
            found.setdefault(kind, {})[ratio] = f"{task}/"
    if found:  # the task that all trials are measured on
        kind, ratio = split_task(str(comparison.members[0].row["test_task"]))
        found.setdefault(kind, {})[ratio] = ""
    return found


def _axis(
    comparison: Comparison, criterion: Criterion, tasks: Mapping[Any, str], *, name: str, kind: str
) -> Axis:
    drawn = styles(member.variant for member in comparison.members)
    lines = [_line(member, tasks, drawn, criterion) for member in comparison.members]
    return Axis(
        name=name,
        stem=f"{comparison.stem}_tasks_{kind}" if kind else f"{comparison.stem}_tasks",
        title=f"{comparison.title}: test task{f' {kind}' if kind else 's'}",
        lines=tuple(line for line in lines if line is not None),
        note=_NOTE,
    )


def _line(
    member: Member, tasks: Mapping[Any, str], drawn: Mapping[str, Style], criterion: Criterion
) -> Line | None:
    variant = member.variant
    best = None if variant.is_reference else chosen(member, criterion.tolerance)
    group = best or member.default
    if group is None:
        return None
    values = {task: group.distances(prefix) for task, prefix in sorted(tasks.items())}
    if not any(any(pair) for pair in values.values()):
        return None
    star = "" if best or variant.is_reference else " *"
    return Line(label=variant.label + star, style=drawn[variant.group], values=values)
