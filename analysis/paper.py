"""Shows published numbers, which a file gives, beside those of a sweep."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.comparisons import Comparison, Member
from analysis.criterion import Criterion
from analysis.seed_groups import SeedGroup
from analysis.selection import chosen
from analysis.tables_io import Column, Table
from platform.storage.variants import Row, Variant
from trainables.utils.errors import UserError
from trainables.utils.text import first_few

COLUMNS = ("model", "variant", "metric", "value")


@dataclass(frozen=True, kw_only=True)
class PublishedNumber:
    """One published number.

    Attributes:
        model: a model of the sweep.
        variant: a variant of the sweep, such as `ours_proxy`.
        metric: a metric, such as `forget/fid`.
        value: the number, finite.
    """

    model: str
    variant: str
    metric: str
    value: float


def read_published(
    path: Path, variants: Sequence[Variant], rows: Sequence[Row]
) -> list[PublishedNumber]:
    """Reads published numbers from a CSV file of the columns model, variant, metric, value.

    Args:
        path: the file.
        variants: the variants of the sweep.
        rows: the rows of the sweep, by which metrics are known.

    Raises:
        UserError: the file cannot be read, lacks a column, or names what the sweep has not.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(
                    f"{path} lacks the column {', '.join(missing)}; it needs {','.join(COLUMNS)}"
                )
            lines = list(enumerate(reader, 2))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    known = {
        "model": {variant.model for variant in variants},
        "variant": {_variant_name(variant) for variant in variants},
        "metric": {name for row in rows for name, value in row.items() if "/" in name},
    }
    return [_published(f"{path}, line {number}", line, known) for number, line in lines]


def _published(
    where: str, line: Mapping[str, str | None], known: Mapping[str, set[str]]
) -> PublishedNumber:
    given = {name: (line[name] or "").strip() for name in COLUMNS}
    for name, values in known.items():
        if given[name] not in values:
            listed = first_few(sorted(values), 12)
            raise UserError(f"{where}: unknown {name} {given[name]!r}; the sweep has {listed}")
    try:
        value = float(given["value"])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: value {given['value']!r} is not a finite number")
    return PublishedNumber(
        model=given["model"], variant=given["variant"], metric=given["metric"], value=value
    )


def _variant_name(variant: Variant) -> str:
    """Returns a group without its model: `mage_tiny/ours_proxy` is `ours_proxy`."""
    return variant.group.rpartition("/")[2]


def paper_table(
    published: Sequence[PublishedNumber], comparisons: Sequence[Comparison], criterion: Criterion
) -> Table:
    """Makes the table of published numbers beside those of the default and the chosen trial.

    Args:
        published: the numbers, from `read_published`.
        comparisons: the comparisons of the sweep; the first of a model is its defaults'.
        criterion: what variants are judged by.
    """
    members: dict[tuple[str, str], Member] = {}
    for comparison in comparisons:
        for member in comparison.members:
            members.setdefault((comparison.model, _variant_name(member.variant)), member)
    return Table(
        name="paper",
        caption="The paper's numbers beside ours",
        columns=(
            *(Column(key=key, heading=key.capitalize()) for key in ("model", "variant", "metric")),
            Column(key="paper", heading="paper", kind="number"),
            *(column for trial in ("default", "chosen") for column in _columns(trial)),
        ),
        rows=[_row(each, members, criterion) for each in published],
        notes=(
            "Deviation: ours minus the paper's. Numbers are comparable only where data, networks "
            "and budget are the paper's; the plan says what they were here.",
        ),
    )


def _columns(trial: str) -> list[Column]:
    return [
        Column(key=trial, heading=f"ours, {trial}", kind="estimate"),
        Column(key=f"{trial}_deviation", heading="deviation", kind="number", form="+.2f"),
        Column(key=f"{trial}_relative", heading="relative", kind="number", form="+.1%"),
    ]


def _row(
    published: PublishedNumber, members: Mapping[tuple[str, str], Member], criterion: Criterion
) -> dict[str, object]:
    own = members.get((published.model, published.variant))
    default = None if own is None else own.default
    unlearns = own is not None and not own.variant.is_reference
    best = chosen(own, criterion.tolerance) if own is not None and unlearns else None
    return {
        "model": published.model,
        "variant": published.variant,
        "metric": published.metric,
        "paper": published.value,
        **_beside("default", default, published),
        **_beside("chosen", best, published),
    }


def _beside(key: str, group: SeedGroup | None, published: PublishedNumber) -> dict[str, object]:
    estimate = None if group is None else group.estimate(published.metric)
    if estimate is None:
        return {}
    deviation = estimate.mean - published.value
    relative = deviation / abs(published.value) if published.value else None
    return {key: estimate, f"{key}_deviation": deviation, f"{key}_relative": relative}
