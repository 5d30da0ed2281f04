"""Every file and folder that work leaves is on the disk, before it has its name and after."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.helpers.losing_disk import LosingDisk
from tests.helpers.tiny import tiny
from trainables.models.checkpoints import save_weights
from trainables.training.context import Context
from trainables.training.snapshots import Snapshot, write_snapshot
from trainables.trial import run_trial
from trainables.utils.cache import build_once, file_hash
from trainables.utils.files import make_folder, place_folder, replacing, write_json, write_text
from trainables.utils.object_store import Mirror

Write = Callable[[Path], object]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> LosingDisk:
    return LosingDisk(monkeypatch)


def built(folder: Path) -> None:
    (folder / "views").mkdir()
    (folder / "views" / "0.npz").write_bytes(b"arrays")
    (folder / "weights").write_bytes(b"weights")


def pulled(folder: Path) -> None:
    there = folder.parent / "there"
    (there / "trials").mkdir(parents=True)
    (there / "trials" / "weights").write_bytes(b"weights")
    Mirror(folder, there.as_uri()).pull(folder / "trials")


def hashed(folder: Path) -> None:
    original = folder.parent / "original.pth"
    original.write_bytes(b"weights")
    file_hash(original, folder)


WRITERS: dict[str, Write] = {
    "text": lambda folder: write_text(folder / "a.txt", "text"),
    "json": lambda folder: write_json(folder / "a.json", {"a": 1}),
    "weights": lambda folder: save_weights(torch.nn.Linear(2, 2), folder / "weights.safetensors"),
    "snapshot": lambda folder: write_snapshot(folder, Snapshot(2, {"a": torch.ones(2)}, ()), {}),
    "folders": lambda folder: make_folder(folder / "one" / "in" / "another"),
    "shared work": lambda folder: build_once(folder / "cache", "work", {"a": 1}, built),
    "a hash": hashed,
    "from an address": pulled,
}


@pytest.mark.parametrize("what", WRITERS)
def test_what_is_written_is_not_lost(disk: LosingDisk, tmp_path: Path, what: str) -> None:
    folder = tmp_path / "storage"
    make_folder(folder)
    WRITERS[what](folder)
    assert disk.named_too_early == []
    assert disk.lost(folder) == []
    assert any(folder.rglob("*"))


def test_the_disk_of_these_tests_loses_what_is_not_flushed(
    disk: LosingDisk, tmp_path: Path
) -> None:
    (tmp_path / "part").write_text("x")
    (tmp_path / "part").replace(tmp_path / "a")
    assert disk.named_too_early == [f"content of {tmp_path / 'part'}"]
    assert disk.lost(tmp_path) == [f"name {tmp_path / 'a'}", f"content of {tmp_path / 'a'}"]
    write_text(tmp_path / "a", "y")
    assert disk.lost(tmp_path) == []


def test_a_folder_is_not_placed_over_another(tmp_path: Path) -> None:
    for name in ("part", "done"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with pytest.raises(OSError, match="not empty"):
        place_folder(tmp_path / "part", tmp_path / "done")
    assert (tmp_path / "done" / "file").read_text() == "done"


def test_a_file_system_that_flushes_no_folder_is_one_to_write_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def refusing(descriptor: int, *, everything: bool = False) -> None:
        if everything or os.path.samestat(os.fstat(descriptor), tmp_path.stat()):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refusing)
    write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x"
    monkeypatch.setattr(os, "fsync", lambda descriptor: refusing(descriptor, everything=True))
    with pytest.raises(OSError, match="Invalid"), replacing(tmp_path / "a") as beside:
        beside.write_text("y")
    assert (tmp_path / "a").read_text() == "x"


@pytest.mark.slow
def test_nothing_of_a_whole_trial_and_its_shared_work_is_lost(
    disk: LosingDisk, tmp_path: Path
) -> None:
    run_trial(tiny(), Context(folder=tmp_path / "runs" / "one", cache=tmp_path / "runs" / "cache"))
    assert disk.named_too_early == []
    assert disk.lost(tmp_path) == []
