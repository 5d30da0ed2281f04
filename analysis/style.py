"""Draws what figures share: a colour, marker and line for each variant, axes and legends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from platform.storage.variants import Variant


@dataclass(frozen=True)
class Style:
    """How one variant is drawn.

    Attributes:
        colour: a colour of Okabe and Ito's palette.
        marker: Matplotlib's marker; it tells variants apart where there is no colour.
        line: Matplotlib's line style, which tells curves apart in the same way.
    """

    colour: str
    marker: str
    line: Any


INK, GRID = "#404040", "#e6e6e6"
_STYLES = (
    Style("#D55E00", "o", "-"),
    Style("#0072B2", "s", "--"),
    Style("#009E73", "^", "-."),
    Style("#CC79A7", "D", ":"),
    Style("#E69F00", "v", (0, (6, 1))),
    Style("#56B4E9", "P", (0, (3, 1, 1, 1))),
    Style("#000000", "X", (0, (1, 1))),
    Style("#8A8A00", "*", (0, (8, 2, 2, 2))),
)
# references are grey crosses
_ORIGINAL, _RETRAINED = Style(INK, "+", (0, (8, 4))), Style(INK, "x", (0, (1, 3)))


def styles(variants: Iterable[Variant]) -> dict[str, Style]:
    """Returns group to style for the variants of one model, in their order."""
    every = list(variants)
    contenders = dict.fromkeys(each.group for each in every if not each.is_reference)
    drawn = {group: _STYLES[at % len(_STYLES)] for at, group in enumerate(contenders)}
    for each in every:
        if each.is_reference:
            drawn[each.group] = _ORIGINAL if each.is_original else _RETRAINED
    return drawn


def label_distance(axes: Axes, role: str, name: str) -> None:
    """Labels a panel whose vertical axis is a distance, which becomes logarithmic.

    Args:
        axes: the panel, with all that is drawn on it.
        role: `retain` or `forget`.
        name: the name of the distance.
    """
    better = "lower" if role == "retain" else "higher"
    axes.set_title(f"{role} images ({better} is better)", fontsize=11)
    axes.set_ylabel(f"{role} {name}")
    axes.set_yscale("log")
    log_ticks(axes.yaxis)
    axes.grid(visible=True, color=GRID, linewidth=0.6)


def legend_below(figure: Figure, axes: Axes, columns: int = 4) -> None:
    """Puts the legend of a panel below the figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )


def log_ticks(axis: Axis) -> None:
    """Puts plain numbers at 1, 2 and 5 of each decade; more within one, evenly within a half."""
    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high > 12 * low else (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
    # within half a decade a logarithm's own ticks are one or none
    axis.set_major_locator(MaxNLocator(5) if high < 4 * low else LogLocator(subs=subs))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
