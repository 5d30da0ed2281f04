"""Where a sweep lies and what it is called, looked at before anything is started."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.command import Captured, planned, refused, sweep

NOBODY = 65534


@pytest.mark.parametrize(
    "name", ["", "a b", "../up", "a/b", ".hidden", "-x", "x" * 65, "cache", "mlartifacts"]
)
def test_what_is_no_name_of_a_sweep_is_refused(capsys: Captured, tmp_path: Path, name: str) -> None:
    (line,) = refused(capsys, f"--name={name}", "--storage", tmp_path)
    assert line.startswith(f"--name {name!r} is no name for a sweep: ")


def test_a_name_in_use_is_refused_and_a_free_one_offered(capsys: Captured, tmp_path: Path) -> None:
    sweep(tmp_path, "first")
    sweep(tmp_path, "first-2")
    (line,) = refused(capsys, "--name", "first", "--storage", tmp_path)
    assert line == (
        f"--name first is in use in {tmp_path}: --resume goes on with it, and first-3 is free"
    )


def test_a_sweep_without_a_name_takes_the_studys_with_the_next_number(
    capsys: Captured, tmp_path: Path
) -> None:
    assert "sweep quickstart, new, in " in planned(capsys, "--storage", tmp_path)
    sweep(tmp_path, "quickstart")
    assert "sweep quickstart-2, new, in " in planned(capsys, "--storage", tmp_path)
    sweep(tmp_path, "quickstart-2")
    assert "sweep quickstart-3, new, in " in planned(capsys, "--storage", tmp_path)


@pytest.mark.parametrize("below", [(), ("deeper",), ("deeper", "still")])
def test_a_storage_that_is_a_file_is_refused(
    capsys: Captured, tmp_path: Path, below: tuple[str, ...]
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    storage = taken.joinpath(*below)
    assert refused(capsys, "--storage", storage) == [f"--storage {storage}: {taken} is a file"]
    assert taken.read_text() == "mine"


@pytest.mark.parametrize("mode", [0o555, 0o700])
def test_a_storage_that_may_not_be_written_is_refused(capsys: Captured, mode: int) -> None:
    with tempfile.TemporaryDirectory() as open_to_all:
        folder = Path(open_to_all) / "theirs"
        folder.mkdir()
        Path(open_to_all).chmod(0o755)
        folder.chmod(mode if os.geteuid() == 0 else 0o555)
        with _without_privileges():
            for storage in (folder, folder / "runs", folder / "deep" / "runs"):
                lines = refused(capsys, "--name", "a", "--storage", storage)
                assert lines == [f"--storage {storage}: {folder} is not writable"]
        folder.chmod(0o700)


@contextmanager
def _without_privileges() -> Iterator[None]:
    """As a user who may write only what is theirs: root may write everything."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
