"""Which files of a folder are copied to an address, and how a change of one is found."""

from __future__ import annotations

import os
from pathlib import Path

from trainables.utils.local_files import files_below, stamp


def test_whole_files_of_a_folder_are_copied_and_nothing_else(tmp_path: Path) -> None:
    whole = ["a.part/x.json", "a/b/deep.json", "a/one.png", "ledger.db", "plan.json"]
    staying = ["a/.hidden/x.json", ".mark", "one.part", "a.lock", "ledger.db-journal"]
    for name in (*whole, *staying):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "link.json").symlink_to(tmp_path / "plan.json")
    (tmp_path / "folder").symlink_to(tmp_path / "a")
    assert files_below(tmp_path) == [tmp_path / name for name in whole]
    assert files_below(tmp_path / "plan.json") == [tmp_path / "plan.json"]
    assert files_below(tmp_path / "none") == []


def test_a_file_that_was_written_anew_has_another_stamp(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text("a")
    os.utime(file, ns=(10, 10))
    assert stamp(file) == (10, 1)
    file.write_text("bc")
    os.utime(file, ns=(10, 10))
    assert stamp(file) == (10, 2)
