"""Analyses say which files of finished trials are gone, and miss none that an earlier one lacks."""

import shutil

import pyarrow.parquet as pq

from analysis import report, tables
from tests.helpers.analyses import run


def test_files_that_are_gone_are_told_of_on_the_page_and_beside_it(storage, tmp_path, capsys):
    trials = storage / "quickstart" / "trials"
    shutil.rmtree(trials / "ours-s2")
    (trials / "max_loss" / "weights.safetensors").unlink()
    (trials / "original" / "history.json").write_text("[]")
    (trials / "ours" / "of another tool").touch()
    told = {
        "max_loss": "weights.safetensors is gone",
        "original": "history.json has 2 bytes, not ",
        "ours-s2": "its folder is gone",
    }
    assert run(report, storage, "--out", str(tmp_path / "out")) == 0
    rows = pq.read_table(tmp_path / "out" / "lost_files.parquet").to_pylist()
    assert sorted(row["name"] for row in rows) == list(told)
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    (note,) = capsys.readouterr().err.splitlines()
    assert note.startswith("note: files are gone or altered: ")
    assert "--repair" in note
    for row in rows:
        assert row["fault"].startswith(told[row["name"]])
        assert row["fault"] in page
        assert f"{row['name']} ({row['fault']})" in note


def test_nothing_is_missed_of_a_whole_sweep_or_of_one_that_listed_no_files(storage, capsys):
    results = storage / "quickstart" / "results.parquet"
    assert run(tables, storage) == 0
    assert capsys.readouterr().err == ""
    (storage / "quickstart" / "trials" / "ours" / "weights.safetensors").unlink()
    assert run(tables, storage) == 0
    assert "ours (weights.safetensors is gone)" in capsys.readouterr().err
    pq.write_table(pq.read_table(results).drop_columns(["files"]), results)
    assert run(report, storage) == 0
    assert capsys.readouterr().err == ""
    assert not (storage / "quickstart" / "analysis" / "lost_files.parquet").exists()
