"""What is known of files when they are left, and what is found of them later."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from trainables.utils.inventory import lost, take_inventory


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
