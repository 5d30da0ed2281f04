"""Every study on the photographs, really run in at most four trials, with its report."""

from __future__ import annotations

import html
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from search_spaces import STUDIES
from tests.helpers.sweeps import TINY, run

_PAIR = ("method=original,ours", "retain_source=real")
# study -> what narrows it, and how many trials are left
NARROWED: dict[str, tuple[tuple[str, ...], int]] = {
    "quickstart": ((*_PAIR, "search.trials=2"), 4),
    "forget_alpha": (("forget_alpha=0.1,0.5", "search.replicates=0"), 3),
    "retain_availability": (
        ("method=ours", "retain_source=real,1:1,proxy,none", "search.replicates=0"),
        4,
    ),
    "crop_ratio": (_PAIR, 2),
    "crop_direction": (_PAIR, 2),
    "outpainting": (_PAIR, 2),
    "tuned_methods": (
        ("method=ours", "retain_source=real", "search.trials=1", "search.replicates=1"),
        4,
    ),
    "seeds": (("method=original,retrained,ours", "retain_source=real", "search.replicates=1"), 4),
}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all studies: what they share is made once."""
    return tmp_path_factory.mktemp("runs")


def test_every_study_on_the_photographs_is_run_here() -> None:
    assert set(NARROWED) == set(STUDIES) - {"table_1_2"}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", NARROWED)
def test_a_study_runs_and_its_report_answers(storage: Path, name: str) -> None:
    settings, count = NARROWED[name]
    named = {text.partition("=")[0] for text in settings}
    usual = [text for text in TINY if text.partition("=")[0] not in named]
    given = [part for text in (*usual, *settings) for part in ("--set", text)]
    program = [sys.executable, "-m", "platform.sweep", name, "--storage", str(storage)]
    ended = run([*program, "--no-reuse", *given])
    assert ended.status == 0, ended.out + ended.err
    rows = pq.read_table(storage / name / "results.parquet").to_pylist()
    assert len(rows) == count <= 4
    assert {row["state"] for row in rows} == {"finished"}
    assert "The answer on one page: " in ended.out
    page = (storage / name / "analysis" / "report.html").read_text()
    assert STUDIES[name].question in html.unescape(page)
    assert 'src="http' not in page
    listed = json.loads((storage / name / "analysis" / "provenance.json").read_text())
    assert listed
    for task in STUDIES[name].base.more_tests:
        kind, _, ratio = task.partition(":")
        assert all(f"{kind}_{ratio}/retain/fid" in row for row in rows)
