"""Files that are written whole or not at all."""

import os
from pathlib import Path

import pytest

from trainables.utils.files import replacing, write_json, write_text


def test_a_reader_meets_the_old_content_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with replacing(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
        assert beside.name.startswith(".result.json.")
        assert beside.name.endswith(".part")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_raises_leaves_the_old_content_alone(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path) as beside:
        (beside.write_text("half"), (tmp_path / "missing").read_text())
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"


def test_the_content_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, order = tmp_path / "plan.json", []
    monkeypatch.setattr(os, "fsync", lambda _: order.append(path.exists()))
    write_text(path, "x")
    assert order == [False, True]  # then its name, in the folder


def test_json_is_refused_where_a_reader_of_another_language_would_refuse_it(tmp_path: Path) -> None:
    write_json(tmp_path / "values.json", {"a": [1, 2.5], "b": None})
    assert (tmp_path / "values.json").read_text().endswith("}\n")
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "values.json", {"a": float("nan")})
    assert '"b": null' in (tmp_path / "values.json").read_text()
