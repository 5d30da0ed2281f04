"""Folders and their copies behind an address: a file system, and a real S3-compatible server."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow.fs import FileSelector

from tests.helpers.object_store import VARIABLES, ObjectStore
from trainables.utils import remote_folder, waiting
from trainables.utils.addresses import StorageError
from trainables.utils.cache import build_once, folder_of
from trainables.utils.errors import CheckpointError
from trainables.utils.object_store import Mirror, working_copy
from trainables.utils.remote_folder import RemoteFolder

MATERIAL = {"steps": 4}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    made = ObjectStore(tmp_path_factory.mktemp("store"))
    yield made
    made.stop()


@pytest.fixture(params=["file", "s3"])
def address(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    if request.param == "file":
        return (tmp_path / "place").as_uri()
    name = f"{request.function.__name__}/below"
    return str(request.getfixturevalue("store").address(name))


@pytest.fixture
def one(address: str, tmp_path: Path) -> Mirror:
    """The copy of one node, with some files."""
    copy = Mirror(tmp_path / "one", address)
    copy.mark()
    write(copy.local / "a", {"first": "1", "deep/second": "22", "result.json": "{}"})
    return copy


@pytest.fixture
def two(address: str, tmp_path: Path) -> Mirror:
    """The copy of another node, empty."""
    copy = Mirror(tmp_path / "two", address)
    copy.mark()
    return copy


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def held(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files_arrive_on_another_node(one: Mirror, two: Mirror) -> None:
    one.push(one.local / "a", last="result.json")
    assert two.pull(two.local / "a", last="result.json")
    assert held(two.local / "a") == {"first": "1", "deep/second": "22", "result.json": "{}"}
    assert one.remote.folders() == ["a"]


def test_names_with_a_dot_and_halves_stay(one: Mirror, two: Mirror) -> None:
    write(one.local / "a", {".alive-0": "", "weights.part": "half", ".hidden/x": ""})
    write(one.local / "a", {"ledger.db-journal": "of a version that is not this one"})
    one.push(one.local / "a")
    one.push_as(one.local / "a" / "first", one.local / "a" / "mlflow.db-journal")
    two.pull(two.local / "a")
    assert sorted(held(two.local / "a")) == ["deep/second", "first", "result.json"]


def test_what_is_in_step_is_not_sent_again(
    one: Mirror, two: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.push(one.local / "a")
    two.pull(two.local / "a")
    moved: list[str] = []
    upload = RemoteFolder.upload
    monkeypatch.setattr(
        RemoteFolder,
        "upload",
        lambda self, file, name: moved.append(name) or upload(self, file, name),
    )
    os.utime(one.local / "a" / "first", ns=(1, 1))
    one.push(one.local / "a")
    assert moved == ["a/first"]
    two.push(two.local / "a")
    assert moved[1:] in ([], ["a/first"])  # a store tells of whole seconds


def test_what_one_has_no_more_is_taken_away(one: Mirror, two: Mirror) -> None:
    one.push(one.local / "a")
    two.pull(two.local / "a")
    write(two.local / "a", {".alive-0": "", "older": ""})
    (one.local / "a" / "first").unlink()
    one.push(one.local / "a", exact=True)
    assert two.pull(two.local / "a", exact=True)
    assert sorted(held(two.local / "a")) == [".alive-0", "deep/second", "result.json"]
    one.remove(one.local / "a")
    assert not two.pull(two.local / "a")


def test_a_folder_without_its_last_file_is_not_there_yet(one: Mirror, two: Mirror) -> None:
    (one.local / "a" / "result.json").unlink()
    one.push(one.local / "a")
    assert not two.pull(two.local / "a", last="result.json")
    assert not (two.local / "a").exists()
    assert not two.pull(two.local / "nothing")
    assert two.read(two.local / "nothing") is None


def test_the_file_by_which_it_counts_comes_last(
    one: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(Mirror, "_send", lambda self, file, there: sent.append(file.name))
    write(one.local / "a", {"zebra": ""})
    one.push(one.local / "a", last="result.json")
    assert sent[-1] == "result.json"
    assert sorted(sent) == ["first", "result.json", "second", "zebra"]


def test_a_database_is_copied_between_two_transactions(one: Mirror, two: Mirror) -> None:
    path = one.local / "a" / "ledger.db"
    with sqlite3.connect(path) as database:
        database.execute("create table trials (name)")
        database.execute("insert into trials values ('done')")
    writer = sqlite3.connect(path)
    writer.execute("insert into trials values ('half')")
    one.push(path)
    writer.close()
    write(two.local / "a", {"ledger.db-journal": "of an older one"})
    two.pull(two.local / "a" / "ledger.db")
    assert not (two.local / "a" / "ledger.db-journal").exists()
    with sqlite3.connect(two.local / "a" / "ledger.db") as database:
        assert database.execute("select name from trials").fetchall() == [("done",)]


def test_a_file_that_is_cut_short_on_its_way_is_not_there(
    one: Mirror, two: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(source: Any, target: Any, length: int) -> None:
        target.write(source.read(1))
        raise OSError("the network is down")

    monkeypatch.setattr(remote_folder.shutil, "copyfileobj", cut)
    with pytest.raises(OSError, match="network"):
        one.push(one.local / "a" / "deep" / "second")
    monkeypatch.undo()
    for name, value in VARIABLES.items():
        os.environ[name] = value
    assert not two.pull(two.local / "a" / "deep" / "second")


def test_what_was_there_outlives_a_file_that_fails_on_its_way(
    one: Mirror, two: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    one.push(one.local / "a")
    write(one.local / "a", {"first": "a later one"})
    with monkeypatch.context() as patch:
        patch.setattr(remote_folder.shutil, "copyfileobj", refusing)
        with pytest.raises(OSError, match="network"):
            one.push(one.local / "a" / "first")
    two.pull(two.local / "a")
    assert held(two.local / "a")["first"] == "1"
    at = one.remote.filesystem.get_file_info(FileSelector(one.remote.path("a"), recursive=True))
    assert not [each.path for each in at if each.base_name.startswith(".")]


def refusing(*given: Any) -> None:
    raise OSError("the network is down")


def test_what_is_brought_may_be_bounded(one: Mirror, two: Mirror) -> None:
    write(two.local / "a", {"first": "another", "third": "3", "fourth": "4"})
    two.push(two.local / "a")
    one.push(one.local / "a", lacking=True, but="second")
    assert two.pull(two.local / "a", lacking=True)
    assert held(two.local / "a") == {
        "first": "another",
        "third": "3",
        "fourth": "4",
        "result.json": "{}",
    }


def test_of_two_that_publish_one_is_obtained_whole(
    one: Mirror, two: Mirror, tmp_path: Path
) -> None:
    for copy, name in ((one, "one"), (two, "two")):
        write(tmp_path / name, {"x": name, "y": name})
        copy.publish(copy.local / "work", tmp_path / name)
    assert one.obtain(one.local / "work", tmp_path / "got")
    assert held(tmp_path / "got") == {"x": "two", "y": "two"}
    assert not one.obtain(one.local / "nothing", tmp_path / "none")


def test_a_node_that_was_slower_takes_what_the_other_built(one: Mirror, two: Mirror) -> None:
    def slowly(folder: Path) -> None:
        write(folder, {"done": "by one"})
        build_once(two.local, "work", MATERIAL, lambda other: write(other, {"done": "by two"}))

    for copy in (one, two):
        found = build_once(copy.local, "work", MATERIAL, slowly)
        assert (found / "done").read_text() == "by two"


def test_what_could_not_be_brought_is_brought_later(
    one: Mirror, two: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(folder: Path) -> None:
        raise AssertionError("built again")

    monkeypatch.setattr(waiting, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(waiting, "_PAUSE_S", 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(Mirror, "publish", refusing)
        with pytest.raises(StorageError, match="the network is down"):
            build_once(one.local, "work", MATERIAL, lambda folder: write(folder, {"done": "1"}))
    assert not two.is_published(folder_of(two.local, "work", MATERIAL))
    build_once(one.local, "work", MATERIAL, never)
    assert (build_once(two.local, "work", MATERIAL, never) / "done").read_text() == "1"


def test_a_damaged_database_is_a_fault_of_the_system(one: Mirror) -> None:
    write(one.local / "a", {"ledger.db": "no database at all" * 100})
    with pytest.raises(OSError, match=r"ledger\.db cannot be read \(file is not a database\)"):
        one.push(one.local / "a")


def test_one_place_has_one_copy_however_it_is_spelt(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    place, question, query = address.partition("?")
    other = f"{place}/{question}{query}"
    assert working_copy(other).local == working_copy(address).local
    assert Mirror(tmp_path, other).address == address


def test_another_node_has_what_one_has_built(one: Mirror, two: Mirror) -> None:
    def build(folder: Path) -> None:
        (folder / "done").write_text("by one")

    def never(folder: Path) -> None:
        raise AssertionError("built again")

    build_once(one.local, "work", MATERIAL, build)
    found = build_once(two.local, "work", MATERIAL, never)
    assert (found / "done").read_text() == "by one"
    assert build_once(two.local, "work", MATERIAL, never) == found


def test_shared_work_that_was_altered_there_is_refused(one: Mirror, two: Mirror) -> None:
    build_once(one.local, "work", MATERIAL, lambda folder: write(folder, {"done": "by one"}))
    made = folder_of(one.local, "work", MATERIAL)
    published = made / (one.read(made / "whole") or b"").decode()
    one.write(published / "done", b"by another")
    with pytest.raises(CheckpointError, match=r"work-.* done is not as it was made"):
        build_once(two.local, "work", MATERIAL, lambda folder: None)
    one.remove(published)
    with pytest.raises(CheckpointError, match=r"work-.* material.json .* is not as it was made"):
        build_once(two.local, "work", MATERIAL, lambda folder: None)
    assert not folder_of(two.local, "work", MATERIAL).exists()


def test_ages_are_by_the_clock_of_the_place(one: Mirror) -> None:
    early, late = one.local / ".early", one.local / ".late"
    one.write(early, b"")
    one.write(late, b"")
    age = one.age_s(early, late)
    assert age is not None
    assert 0 <= age < 60
    assert one.age_s(one.local / ".never", late) is None


def test_a_marked_folder_is_known_again(one: Mirror, address: str, tmp_path: Path) -> None:
    again = Mirror.of(one.local)
    assert again is not None
    assert again.address == address
    assert Mirror.of(tmp_path) is None


def test_the_working_copy_is_of_this_user_alone(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    copy = working_copy(address)
    assert copy.local.parent == tmp_path / "temporary"
    assert copy.local.stat().st_mode & 0o077 == 0
    cache = Mirror.of(copy.local / "cache")
    assert cache is not None
    cache.remote.check()
    copy.local.rename(tmp_path / "elsewhere")
    copy.local.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="is not this user's: set TMPDIR"):
        working_copy(address)


def test_the_working_copy_stays_below_tmpdir_whether_or_not_that_can_be_used(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Python takes another folder for temporary files where this one is full or gone
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert tempfile.gettempdir() != str(tmp_path / "gone")
    assert working_copy(address).local.parent == tmp_path / "gone"


def test_a_bucket_that_is_not_there_is_told_with_the_remedy(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match=r"the bucket must exist.*AWS_ACCESS_KEY_ID") as refused:
        Mirror(tmp_path, store.address("x").replace("//runs/", "//absent/")).remote.check()
    assert "\n" not in str(refused.value)


def test_two_nodes_that_write_one_file_leave_one_of_both(one: Mirror, two: Mirror) -> None:
    texts = {str(number) * 200_000 for number in range(4)}

    def send(copy: Mirror, text: str) -> None:
        copy.write(copy.local / "x", text.encode())

    threads = [
        threading.Thread(target=send, args=(copy, text))
        for copy, text in zip((one, two, one, two), sorted(texts), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = one.read(one.local / "x")
    assert found is not None
    assert found.decode() in texts
