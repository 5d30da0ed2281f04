"""Shows what changes along a field that a sweep enumerates: the axis, its table, its figure."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from analysis.comparisons import Comparison, Member
from analysis.criterion import Criterion
from analysis.seed_groups import SeedGroup, Trial
from analysis.statistics import Estimate
from analysis.style import Style, label_distance, legend_below, log_ticks, styles
from analysis.tables_io import Column, Table
from analysis.trial_configs import SEEDS

_ENUMERATED = ("default", "grid", "point")
_NOT_A_FIELD = {*SEEDS, "method", "formulation", "model"}


@dataclass(frozen=True, kw_only=True)
class Line:
    """A variant along an axis.

    Attributes:
        label: its name for people.
        style: how it is drawn.
        values: the axis's values to the estimates of `retain/fid` and `forget/fid`.
    """

    label: str
    style: Style
    values: Mapping[Any, tuple[Estimate | None, Estimate | None]]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis of one model.

    Attributes:
        name: the field that is varied.
        stem: the beginning of the names of its files.
        title: the title of its figure and table.
        lines: a line for each variant.
        note: a line on how it was made.
    """

    name: str
    stem: str
    title: str
    lines: tuple[Line, ...]
    note: str

    @property
    def values(self) -> list[Any]:
        """The axis's values in order: numbers by size, others as they come."""
        found = list(dict.fromkeys(value for line in self.lines for value in line.values))
        return sorted(found) if _is_numeric(found) else found

    @property
    def is_drawn(self) -> bool:
        """Whether a figure says more than the table: it does not for two names and one variant."""
        several = _is_numeric(self.values) or len(self.values) > 2 or len(self.lines) > 1
        return len(self.values) > 1 and several


def _is_numeric(values: Sequence[Any]) -> bool:
    """Reports whether all values are numbers, so that an axis can place them by size."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def enumerated_axes(model: str, comparisons: Sequence[Comparison]) -> list[Axis]:
    """Returns an axis for each field that differs between the enumerated trials of one variant.

    Args:
        model: the model's name.
        comparisons: all comparisons of the model.
    """
    drawn = styles(member.variant for comparison in comparisons for member in comparison.members)
    families = list(_families(comparisons, drawn))
    varied: dict[str, None] = {}
    for _, _, trials in families:
        names = dict.fromkeys(name for trial in trials for name in trial.config)
        for name in (name for name in names if name not in _NOT_A_FIELD):
            if len({_value(trial, name) for trial in trials}) > 1:
                varied[name] = None
    return [
        Axis(
            name=name,
            stem=f"{model}_axis_{name.replace('.', '_')}",
            title=f"{model}: along {name}",
            lines=tuple(
                line
                for label, style, trials in families
                if (line := _line(label, style, trials, name, list(varied))) is not None
            ),
            note="Enumerated trials; all other fields as in the variant's default trial.",
        )
        for name in varied
    ]


def _families(
    comparisons: Sequence[Comparison], drawn: Mapping[str, Style]
) -> Iterator[tuple[str, Style, list[Trial]]]:
    """Yields the enumerated trials of each method and formulation, whatever the retain images."""
    found: dict[Hashable, list[tuple[Member, Trial]]] = {}
    for member in (member for comparison in comparisons for member in comparison.members):
        own = {trial.seed_group for trial in member.trials if trial.row["kind"] in _ENUMERATED}
        for trial in member.trials:
            if trial.seed_group in own:  # with the seeds that it was repeated under
                key = (trial.row["method"], trial.row["formulation"])
                found.setdefault(key, []).append((member, trial))
    for pairs in found.values():
        pairs.sort(key=lambda pair: pair[1].row["kind"] != "default")
        variant = pairs[0][0].variant
        yield variant.label, drawn[variant.group], [trial for _, trial in pairs]


def _value(trial: Trial, name: str) -> Any:
    value = trial.config.get(name)
    return json.dumps(value) if isinstance(value, tuple) else value


def _line(
    label: str, style: Style, trials: Sequence[Trial], name: str, varied: Sequence[str]
) -> Line | None:
    others = [other for other in varied if other != name]
    usual = [_value(trials[0], other) for other in others]
    found: dict[Any, list[Trial]] = {}
    for trial in trials:
        if [_value(trial, other) for other in others] == usual:
            found.setdefault(_value(trial, name), []).append(trial)
    if len(found) < 2:
        return None
    values = {value: SeedGroup(trials=tuple(same)).distances() for value, same in found.items()}
    return Line(label=label, style=style, values=values)


def axis_table(axis: Axis, criterion: Criterion) -> Table:
    """Makes the table of an axis, a row for each variant and value."""
    numeric = _is_numeric(axis.values)
    rows = [
        {
            "variant": line.label,
            "value": value if numeric else str(value),
            "seeds": max((each.n for each in line.values[value] if each is not None), default=0),
            "retain_fd": line.values[value][0],
            "forget_fd": line.values[value][1],
        }
        for line in axis.lines
        for value in axis.values
        if value in line.values
    ]
    return Table(
        name=axis.stem,
        caption=axis.title,
        columns=(
            Column(key="variant", heading="Variant"),
            Column(
                key="value", heading=axis.name, kind="number" if numeric else "text", form=".4g"
            ),
            Column(key="seeds", heading="seeds", kind="integer"),
            *criterion.distance_columns(),
        ),
        rows=rows,
        notes=(axis.note, criterion.networks),
    )


def axis_figure(axis: Axis, criterion: Criterion) -> Figure:
    """Draws the retain and the forget distance along an axis, a line a variant, with intervals."""
    figure = Figure(figsize=(10.5, 4.8), layout="constrained")
    sides = figure.subplots(1, 2)
    values = axis.values
    numeric = _is_numeric(values)
    where = {value: value if numeric else at for at, value in enumerate(values)}
    for side, (panel, role) in enumerate(zip(sides, ("retain", "forget"), strict=True)):
        for line in axis.lines:
            found = {where[value]: pair[side] for value, pair in line.values.items() if pair[side]}
            _draw(panel, line, dict(sorted(found.items())), joined=numeric)
        label_distance(panel, role, criterion.fid)
        panel.set_xlabel(axis.name)
        if not numeric:
            panel.set_xticks(list(where.values()), [str(value) for value in values])
        elif min(values) > 0 and max(values) >= 10 * min(values):
            panel.set_xscale("log")
            log_ticks(panel.xaxis)
    legend_below(figure, sides[0])
    figure.suptitle(axis.title, fontsize=11)
    return figure


def _draw(panel: Any, line: Line, found: Mapping[float, Any], *, joined: bool) -> None:
    means = [estimate.mean for estimate in found.values()]
    bars = [0.0 if each.low is None else each.mean - each.low for each in found.values()]
    panel.errorbar(
        list(found),
        means,
        # an interval below 0 has no place on a logarithmic axis
        yerr=[[min(bar, 0.95 * mean) for bar, mean in zip(bars, means, strict=True)], bars],
        color=line.style.colour,
        marker=line.style.marker,
        linestyle=line.style.line if joined else "none",
        linewidth=1.6,
        capsize=3,
        label=line.label,
    )
