"""Records as earlier versions wrote them: the formulation of a loss was called its variant."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainables.utils.hashing import SEAL, seal


def as_recorded_before(folder: Path) -> None:
    """Turns a recorded sweep into what the version before the renaming left."""
    plan_as_recorded_before(folder)
    path = folder / "results.parquet"
    table = pq.read_table(path)
    texts = [_earlier(text) for text in table["config"].to_pylist()]
    table = table.set_column(table.column_names.index("config"), "config", pa.array(texts))
    names = ["variant" if name == "formulation" else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), path, write_page_checksum=True)


def plan_as_recorded_before(folder: Path) -> None:
    """Turns the plan of a sweep into that of the version before the renaming, sealed."""
    path = folder / "plan.json"
    values = json.loads(_earlier(path.read_text("utf-8")))
    del values[SEAL]
    path.write_text(json.dumps(seal(values)), "utf-8")


def _earlier(text: str) -> str:
    assert '"formulation"' in text
    return text.replace('"formulation"', '"variant"')
