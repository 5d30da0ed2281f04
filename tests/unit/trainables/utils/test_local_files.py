"""Which files of a folder are copied to an address, and how one changed or gone is found."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from trainables.utils.local_files import files_below, lost, stamp, take_inventory


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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files in a folder of their own."""
    made = tmp_path / "trial"
    made.mkdir()
    for name in ("weights", "grid", "curve"):
        (made / name).write_text(f"{name} of a trial")
    return made


def test_files_that_are_as_they_were_are_not_lost(folder: Path) -> None:
    listed = take_inventory(folder.iterdir())
    content = b"weights of a trial"
    assert list(listed) == ["curve", "grid", "weights"]
    assert listed["weights"] == {
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    listed = json.loads(json.dumps(listed))
    (folder / "of another tool").touch()
    assert lost(folder, listed) == lost(folder, listed, read=True) == []


def test_what_is_gone_cut_or_altered_is_named(folder: Path) -> None:
    listed = take_inventory(folder.iterdir())
    (folder / "curve").unlink()
    (folder / "grid").write_text("gri")
    (folder / "weights").write_text("Weights of a trial")
    sizes = ["curve is gone", "grid has 3 bytes, not 15"]
    assert lost(folder, listed) == sizes
    assert lost(folder, listed, read=True) == [*sizes, "weights is altered"]


def test_a_folder_that_is_gone_is_one_fault(folder: Path) -> None:
    listed = take_inventory(folder.iterdir())
    folder.rename(folder.with_name("moved"))
    assert lost(folder, listed) == lost(folder, {}) == ["its folder is gone"]
    folder.write_text("a file in its place")
    assert lost(folder, listed) == ["its folder is gone"]


def test_a_file_of_which_nothing_is_known_must_be_there(folder: Path) -> None:
    assert lost(folder, {"grid": {}}, read=True) == []
    assert lost(folder, {"table": {}}, read=True) == ["table is gone"]


def test_a_file_that_cannot_be_read_is_lost_too(folder: Path) -> None:
    listed = take_inventory([folder / "grid"])
    (folder / "grid").unlink()
    (folder / "grid").symlink_to("grid")
    (fault,) = lost(folder, listed)
    assert fault.startswith("grid cannot be read (")
