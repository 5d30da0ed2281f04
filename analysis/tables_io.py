"""Writes tables as CSV, Markdown, LaTeX and Parquet, each of which says where it comes from."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.provenance import Provenance
from analysis.statistics import Estimate
from trainables.utils.text import one_line

MISSING = "–"
Kind = Literal["text", "integer", "number", "estimate"]
_TYPES = {"text": pa.string(), "integer": pa.int64()}
_MARKDOWN = str.maketrans({"|": "\\|", "<": "&lt;", "\n": " "})
_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"↓": r"$\downarrow$", "↑": r"$\uparrow$", "±": r"$\pm$", "–": "--", "|": r"\textbar{}"}
    | {
        "−": "$-$",
        "×": r"$\times$",
        "Δ": r"$\Delta$",
        "α": r"$\alpha$",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
    }
    | {"\n": " "}
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table.

    Attributes:
        key: its name in CSV and Parquet.
        heading: its name for people.
        kind: the kind of its values; `estimate` is a mean over seeds, with an interval where there
            are several seeds.
        form: the format of its numbers.
        spread: the key of the value that people see after the number and "±".
    """

    key: str
    heading: str
    kind: Kind = "text"
    form: str = ".2f"
    spread: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of values under columns.

    Attributes:
        name: the name of its files, without a suffix.
        caption: a line on what it shows.
        columns: the columns in their order; texts come first.
        rows: a value by each column's key; None where there is none.
        notes: the lines below it.
    """

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: Sequence[Mapping[str, Any]]
    notes: tuple[str, ...] = field(default=())

    @property
    def texts(self) -> int:
        """The number of columns that are texts, which stand at the left."""
        return sum(column.kind == "text" for column in self.columns)

    def headings(self) -> list[str]:
        """Returns the headings of the columns."""
        return [column.heading for column in self.columns]

    def cells(self) -> list[list[str]]:
        """Returns the rows as texts for people."""
        return [[_shown(column, row) for column in self.columns] for row in self.rows]

    def records(self) -> list[dict[str, Any]]:
        """Returns the rows as plain values; an estimate has `KEY`, `KEY_low` and `KEY_high`."""
        return [
            {name: value for column in self.columns for name, value in _values(column, row)}
            for row in self.rows
        ]

    def schema(self) -> pa.Schema:
        """Returns the schema of the rows as plain values."""
        names = [
            (name, _TYPES.get(column.kind, pa.float64()))
            for column in self.columns
            for name in _names(column)
        ]
        return pa.schema(names)


def _names(column: Column) -> list[str]:
    names = [column.key]
    if column.kind == "estimate":
        names += [f"{column.key}_low", f"{column.key}_high"]
    return names + ([column.spread] if column.spread else [])


def _values(column: Column, row: Mapping[str, Any]) -> list[tuple[str, Any]]:
    value = row.get(column.key)
    values = [value]
    if column.kind == "estimate":
        values = [None, None, None]
        if isinstance(value, Estimate):
            values = [value.mean, value.low, value.high]
    if column.spread:
        values.append(row.get(column.spread))
    return list(zip(_names(column), values, strict=True))


def _shown(column: Column, row: Mapping[str, Any]) -> str:
    value = row.get(column.key)
    if value is None:
        return MISSING
    if column.kind == "text":
        return str(value)
    if column.kind == "integer":
        return f"{value:d}"
    form = column.form
    if not isinstance(value, Estimate):
        text = f"{value:{form}}"
    elif value.low is None:
        text = f"{value.mean:{form}}"
    else:
        text = f"{value.mean:{form}} [{value.low:{form}}, {value.high:{form}}]"
    if column.spread and row.get(column.spread) is not None:
        text += f" ± {row[column.spread]:{form}}"
    return text


def markdown(table: Table, notes: Sequence[str] | None = None) -> str:
    """Returns a table in Markdown, texts at the left and numbers at the right.

    Args:
        table: the table.
        notes: the lines below it; None takes the table's own.
    """
    rules = ["---:" if column.kind != "text" else "---" for column in table.columns]
    lines = [
        f"| {' | '.join(cell.translate(_MARKDOWN) for cell in cells)} |"
        for cells in (table.headings(), rules, *table.cells())
    ]
    below = table.notes if notes is None else notes
    return "\n".join([*lines, "", *(f"- {note.translate(_MARKDOWN)}" for note in below), ""])


def latex(table: Table, notes: Sequence[str] | None = None) -> str:
    """Returns a table in LaTeX with booktabs; `notes`, as those of `markdown`, are comments."""
    kinds = "".join("l" if column.kind == "text" else "r" for column in table.columns)
    head, *lines = (
        f"{' & '.join(cell.translate(_LATEX) for cell in cells)} \\\\"
        for cells in (table.headings(), *table.cells())
    )
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            f"\\begin{{tabular}}{{{kinds}}}",
            "\\toprule",
            head,
            "\\midrule",
            *lines,
            "\\bottomrule",
            "\\end{tabular}",
            *(f"% {one_line(note, None)}" for note in (table.notes if notes is None else notes)),
            "",
        ]
    )


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Writes rows of values to a CSV file; None becomes an empty field."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def write_table(folder: Path, table: Table, source: Provenance) -> list[Path]:
    """Writes `NAME.csv`, `.md`, `.tex` and `.parquet`; all but the CSV name their source."""
    paths = [folder / f"{table.name}.{suffix}" for suffix in ("csv", "md", "tex", "parquet")]
    records, schema = table.records(), table.schema()
    write_csv(paths[0], schema.names, (record.values() for record in records))
    notes = [table.caption, *table.notes, source.line]
    hidden = source.line.replace("--", "- -")  # two hyphens may not stand in a comment
    above = f"<!-- {hidden} -->\n\n"
    paths[1].write_text(above + markdown(table, notes), "utf-8")
    paths[2].write_text(latex(table, notes), "utf-8")
    described = {"provenance": json.dumps(asdict(source)), "caption": table.caption}
    pq.write_table(
        pa.Table.from_pylist(records, schema=schema.with_metadata(described)),
        paths[3],
        write_page_checksum=True,
    )
    return paths
