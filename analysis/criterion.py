"""Says what variants are judged by: the metrics under their names, and the limit to retain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.tables_io import Column, Kind


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """What the variants of a sweep are judged by.

    Attributes:
        labels: names of `fid`, `is` and `clip`, by the networks that made them.
        tolerance: how far the validation retain distance may rise above the original's; 0.10 is
            10 %.
        has_kernel: whether the kernel distance was measured too.
    """

    labels: Mapping[str, str]
    tolerance: float
    has_kernel: bool = False

    @property
    def fid(self) -> str:
        """The Frechet distance in a heading; `networks` tells by which network it is."""
        return self.short("fid")

    def short(self, metric: str) -> str:
        """Returns a metric's label without its network."""
        return self.labels[metric].partition(" (")[0]

    @property
    def networks(self) -> str:
        """A line that names the metrics with their networks."""
        return f"Figures: {', '.join(self.labels.values())}."

    def distance_columns(self, kind: Kind = "estimate", start: str = "") -> list[Column]:
        """Returns the columns `retain_fd` and `forget_fd`, whose headings begin with `start`."""
        return role_columns("fd", self.fid, "fid", kind=kind, start=start)


def role_columns(
    key: str,
    name: str,
    metric: str,
    *,
    kind: Kind = "estimate",
    start: str = "",
    form: str = ".2f",
    spread: str = "",
) -> list[Column]:
    """Returns the columns `retain_KEY` and `forget_KEY` of a metric.

    Args:
        key: the end of the columns' keys.
        name: the metric's name in the headings, after the role.
        metric: `fid`, `kid`, `is` or `clip`, by which the headings show what is better.
        kind: the kind of the values.
        start: the beginning of the headings.
        form: the format of the numbers.
        spread: the end of the key of the spread, where there is one.
    """
    return [
        Column(
            key=f"{role}_{key}",
            heading=f"{start}{role} {name} {arrow(role, metric)}",
            kind=kind,
            form=form,
            spread=f"{role}_{spread}" if spread else "",
        )
        for role in ("retain", "forget")
    ]


def arrow(role: str, metric: str) -> str:
    """Returns the direction in which a metric is better: a distance is low on retained images.

    Args:
        role: `retain` or `forget`.
        metric: `fid`, `kid`, `is` or `clip`.
    """
    return "↓" if (metric in ("fid", "kid")) == (role == "retain") else "↑"


def percent(share: float) -> str:
    """Returns a share in percent, such as `10 %`."""
    return f"{100 * share:g} %"
