"""Work that is kept by content: built once, whole or not at all, anew where anything changed."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.tiny import files
from trainables.utils import cache
from trainables.utils.cache import build_once, folder_of
from trainables.utils.errors import CheckpointError
from trainables.utils.hashing import read_sealed

MATERIAL: dict[str, Any] = {"data": "d0d0", "steps": 4}


def build_slowly(root: Path, name: str) -> None:
    """Builds unless it was built, and leaves a mark of its own outside of the cache if it did."""

    def build(folder: Path) -> None:
        (root.parent / f"{name}.built").touch()
        (folder / "half").write_text(name)
        time.sleep(0.5)
        (folder / "done").write_text(name)

    done = build_once(root, "work", MATERIAL, build)
    assert (done / "half").read_text() == (done / "done").read_text()


def build_for_ever(root: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "half").write_text("of what never ends")
        (root.parent / "started").touch()
        time.sleep(60)

    build_once(root, "work", MATERIAL, build)


def no_build(folder: Path) -> None:
    raise AssertionError("built again")


def test_two_processes_build_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    root = tmp_path / "cache"
    started = [spawn.Process(target=build_slowly, args=(root, name)) for name in ("one", "two")]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
    assert [process.exitcode for process in started] == [0, 0]
    assert len(list(tmp_path.glob("*.built"))) == 1
    folder = build_once(root, "work", MATERIAL, no_build)
    assert files(folder) == {"half", "done", "material.json"}


def test_what_a_killed_build_left_is_cleared(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    process = multiprocessing.get_context("spawn").Process(target=build_for_ever, args=(root,))
    process.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.join(60)
    folder = folder_of(root, "work", MATERIAL)
    assert {f"{folder.name}.part/half"} < files(root)
    assert not folder.exists()

    assert build_once(root, "work", MATERIAL, lambda path: (path / "whole").touch()) == folder
    assert files(folder) == {"whole", "material.json"}
    assert not list(root.glob("*.part"))


def test_a_build_that_fails_leaves_nothing_and_can_be_done_again(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_once(tmp_path, "work", MATERIAL, fail)
    assert [each for each in tmp_path.iterdir() if each.is_dir()] == []
    folder = build_once(tmp_path, "work", MATERIAL, lambda path: (path / "whole").touch())
    assert files(folder) == {"whole", "material.json"}
    assert read_sealed(folder / "material.json")["material"] == MATERIAL


def test_what_was_altered_since_it_was_made_is_refused(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "parts").mkdir()
        (folder / "parts" / "weights").write_bytes(bytes(1000))

    folder = build_once(tmp_path, "work", MATERIAL, build)
    weights, material = folder / "parts" / "weights", folder / "material.json"
    written = material.read_bytes()
    for path, content in (
        (weights, bytes(999) + b"\x01"),
        (weights, bytes(999)),
        (weights, None),
        (folder / "more", b""),
        (material, written[:-9]),
        (material, written.replace(b"d0d0", b"d0d1")),
    ):
        before = path.read_bytes() if path.exists() else None
        path.write_bytes(content) if content is not None else path.unlink()
        cache._verify.cache_clear()  # as another process meets it
        with pytest.raises(CheckpointError, match="is not as it was made; remove this folder"):
            build_once(tmp_path, "work", MATERIAL, build)
        path.write_bytes(before) if before is not None else path.unlink()
    cache._verify.cache_clear()
    assert build_once(tmp_path, "work", MATERIAL, build) == folder


def test_the_same_material_is_built_once_whatever_its_order(tmp_path: Path) -> None:
    folder = build_once(tmp_path, "work", MATERIAL, lambda path: None)
    turned = dict(reversed(MATERIAL.items()))
    assert build_once(tmp_path, "work", turned, no_build) == folder


@pytest.mark.parametrize(
    ("kind", "material"),
    [("other", MATERIAL), ("work", MATERIAL | {"steps": 5}), ("work", MATERIAL | {"more": None})],
)
def test_other_work_has_another_folder(kind: str, material: dict[str, Any], tmp_path: Path) -> None:
    first = build_once(tmp_path, "work", MATERIAL, lambda path: None)
    second = build_once(tmp_path, kind, material, lambda path: None)
    assert first != second
    assert folder_of(tmp_path, kind, material) == second
