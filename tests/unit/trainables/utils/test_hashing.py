"""Hashes of values and of source code, and seals."""

from __future__ import annotations

import importlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables.utils.hashing import (
    code_version,
    content_key,
    hash_bytes,
    read_sealed,
    seal,
    unseal,
)


def test_equal_values_have_one_key_in_whatever_order() -> None:
    assert content_key({"a": 1, "b": [2.5]}) == content_key({"b": [2.5], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})
    assert len(content_key({})) == 12
    with pytest.raises(ValueError, match="Out of range"):
        content_key({"a": float("inf")})


def test_what_was_sealed_is_given_back_and_an_alteration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sealed.json"
    path.write_text(json.dumps(seal({"a": 1})))
    assert read_sealed(path) == {"a": 1}
    path.write_text(path.read_text().replace("1", "2", 1))
    with pytest.raises(ValueError, match="not what was written"):
        read_sealed(path)
    for other in ({"a": 1}, [1], None):
        with pytest.raises(ValueError, match="no sealed object"):
            unseal(other)
    path.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_sealed(path)


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert hash_bytes(tmp_path / "empty").startswith("e3b0c44298fc1c149afbf4c8996fb924")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of two modules and one below, importable."""
    folder = tmp_path / "sources" / "some_science"
    (folder / "deep").mkdir(parents=True)
    for name in ("__init__", "one", "two", "deep/__init__"):
        (folder / f"{name}.py").write_text(f"NAME = {name!r}\n")
    monkeypatch.syspath_prepend(folder.parent)
    yield folder
    code_version.cache_clear()


def version(*names: str) -> str:
    code_version.cache_clear()
    importlib.invalidate_caches()
    return code_version(*names)


def test_a_version_is_that_of_the_sources(package: Path) -> None:
    before = version("some_science")
    assert version("some_science") == before
    assert len(before) == 12
    assert re.fullmatch("[0-9a-f]{12}", before)
    os.utime(package / "one.py", (1, 1))
    (package / "notes.txt").write_text("not code")
    assert version("some_science") == before


@pytest.mark.parametrize("name", ["__init__.py", "one.py", "deep/__init__.py"])
def test_a_change_in_any_source_is_another_version(package: Path, name: str) -> None:
    before = version("some_science")
    whole = (package / name).read_text()
    (package / name).write_text(whole + "# a comment counts\n")
    assert version("some_science") != before
    (package / name).write_text(whole)
    assert version("some_science") == before


def test_a_file_added_moved_or_gone_is_another_version(package: Path) -> None:
    seen = {version("some_science")}
    (package / "three.py").write_text("NAME = 3\n")
    seen.add(version("some_science"))
    (package / "three.py").rename(package / "deep" / "three.py")
    seen.add(version("some_science"))
    (package / "two.py").unlink()
    seen.add(version("some_science"))
    assert len(seen) == 4


def test_a_module_changes_with_its_own_source_alone(package: Path) -> None:
    one, pair = version("some_science.one"), version("some_science.one", "some_science.two")
    (package / "two.py").write_text("NAME = 'changed'\n")
    assert version("some_science.one") == one
    assert version("some_science.one", "some_science.two") != pair
    assert version("some_science.two", "some_science.one") == version(
        "some_science.one", "some_science.two"
    )


def test_an_unknown_module_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="no source for some_absent_science"):
        version("some_absent_science")
