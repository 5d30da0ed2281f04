"""Writes tables as CSV, Markdown, LaTeX and Parquet, each of which says where it comes from."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.statistics import Estimate
from platform.tracking.recorder import Sweep
from trainables.utils.files import write_json
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
class Provenance:
    """Where the numbers of a file come from.

    Attributes:
        sweep: the name of the sweep.
        commit: the commit of the code that ran it.
        data: the hashes of its images.
    """

    sweep: str
    commit: str
    data: tuple[str, ...]

    @property
    def line(self) -> str:
        """The same on one line, for people."""
        data = ", ".join(self.data) or "unknown"
        return f"Sweep {self.sweep}, commit {self.commit}, data {data}."


def provenance(sweep: Sweep) -> Provenance:
    """Returns the provenance of every file that is made of a sweep."""
    data = {row["data_hash"] for row in sweep.rows() if row["data_hash"]}
    commit = str(sweep.environment.get("git_commit") or "unknown")
    changed = " with changes" if sweep.environment.get("git_dirty") else ""
    return Provenance(sweep=sweep.name, commit=commit + changed, data=tuple(sorted(data)))


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


def markdown(
    headings: Sequence[str], body: Sequence[Sequence[str]], notes: Iterable[str], texts: int
) -> str:
    """Returns a table in Markdown.

    Args:
        headings: the headings of the columns.
        body: the rows of cells.
        notes: the lines below the table.
        texts: the number of columns, from the first, that are texts; the others stand at the right.
    """
    rules = ["---"] * texts + ["---:"] * (len(headings) - texts)
    lines = [
        f"| {' | '.join(cell.translate(_MARKDOWN) for cell in cells)} |"
        for cells in (headings, rules, *body)
    ]
    return "\n".join([*lines, "", *(f"- {note.translate(_MARKDOWN)}" for note in notes), ""])


def latex(
    headings: Sequence[str], body: Sequence[Sequence[str]], notes: Iterable[str], texts: int
) -> str:
    """Returns a table in LaTeX with booktabs; `markdown` has the arguments, notes are comments."""
    lines = [f"{' & '.join(cell.translate(_LATEX) for cell in cells)} \\\\" for cells in body]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs}",
            f"\\begin{{tabular}}{{{'l' * texts}{'r' * (len(headings) - texts)}}}",
            "\\toprule",
            f"{' & '.join(cell.translate(_LATEX) for cell in headings)} \\\\",
            "\\midrule",
            *lines,
            "\\bottomrule",
            "\\end{tabular}",
            *(f"% {one_line(note, None)}" for note in notes),
            "",
        ]
    )


def write_table(folder: Path, table: Table, source: Provenance) -> list[Path]:
    """Writes `NAME.csv`, `.md`, `.tex` and `.parquet`; all but the CSV name their source."""
    paths = [folder / f"{table.name}.{suffix}" for suffix in ("csv", "md", "tex", "parquet")]
    records, schema = table.records(), table.schema()
    with paths[0].open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, schema.names)
        writer.writeheader()
        writer.writerows(records)
    notes = [table.caption, *table.notes, source.line]
    parts = (table.headings(), table.cells())
    hidden = source.line.replace("--", "- -")  # two hyphens may not stand in a comment
    above = f"<!-- {hidden} -->\n\n"
    paths[1].write_text(above + markdown(*parts, notes, table.texts), "utf-8")
    paths[2].write_text(latex(*parts, notes, table.texts), "utf-8")
    described = {"provenance": json.dumps(asdict(source)), "caption": table.caption}
    pq.write_table(
        pa.Table.from_pylist(records, schema=schema.with_metadata(described)),
        paths[3],
        write_page_checksum=True,
    )
    return paths


def write_provenance(path: Path, source: Provenance, files: Iterable[Path]) -> None:
    """Writes `provenance.json`: where the files come from, and the SHA-256 of each."""
    hashes = {
        each.relative_to(path.parent).as_posix(): hashlib.sha256(each.read_bytes()).hexdigest()
        for each in files
    }
    values = {**asdict(source), "files": dict(sorted(hashes.items()))}
    write_json(path, values)
