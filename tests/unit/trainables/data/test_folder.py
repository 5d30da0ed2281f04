"""A directory of image files: what is in it, what is made of it, what is refused and why."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.helpers.trees import REFUSED, SIDE, config, noise, plant
from trainables.data import Dataset, folder, load, splits
from trainables.data.splits import SPLITS
from trainables.utils.errors import DataError


def split_by_path(dataset: Dataset) -> dict[str, str]:
    return {row["path"]: row["split"] for row in dataset.manifest.to_pylist()}


# --- Good trees ------------------------------------------------------------------------------


def test_every_image_is_there_with_its_class_role_and_pixels(tree: Path, tmp_path: Path) -> None:
    dataset = load(config(tree), tmp_path / "cache")
    rows = dataset.manifest.to_pylist()
    wanted = {each.relative_to(tree).as_posix() for each in tree.rglob("*.*")}
    assert {row["path"] for row in rows} == wanted
    assert len(rows) == 60
    assert dataset.classes == ("cats", "dogs")
    assert dataset.pixels.shape == (60, SIDE, SIDE, 3)
    assert dataset.refused == ()
    for row, pixels in zip(rows, dataset.pixels, strict=True):
        assert row["class"] == row["path"].split("/")[0]
        assert row["role"] == {"cats": "forget", "dogs": "retain"}[row["class"]]
        assert np.array_equal(pixels, folder.open_image(tree / row["path"], SIDE))
    assert len({row["content_hash"] for row in rows}) == 60


def test_folders_below_a_class_are_part_of_it_and_other_files_are_not(
    tree: Path, tmp_path: Path
) -> None:
    (tree / "cats" / "more" / "deep").mkdir(parents=True)
    noise(1).save(tree / "cats" / "more" / "deep" / "x.jpg")
    noise(3).save(tree / "cats" / "CAPITALS.JPG")
    noise(4).save(tree / "cats" / "naïve ☀ 'name'.PNG")
    (tree / "cats" / "notes.txt").write_text("not an image")
    noise(2).save(tree / "cats" / "y.gif")
    (tree / "not_named").mkdir()
    dataset = load(config(tree), tmp_path / "cache")
    assert len(dataset.pixels) == 63
    more = {"cats/more/deep/x.jpg", "cats/CAPITALS.JPG", "cats/naïve ☀ 'name'.PNG"}
    assert more < split_by_path(dataset).keys()
    assert dataset.refused == ()


def test_a_proxy_needs_training_images_alone(tree: Path, tmp_path: Path) -> None:
    (tree / "birds").mkdir()
    name = next(
        n for n in map(str, range(99)) if splits.split_of(f"birds/{n}.png", 0)[0] == "train"
    )
    noise(1).save(tree / "birds" / f"{name}.png")
    dataset = load(config(tree, proxy=("birds",)), tmp_path / "cache")
    assert dataset.counts()["proxy", "train"] == 1
    with pytest.raises(
        DataError, match=r"'birds' of .* has no usable val or test image among its 1"
    ):
        load(config(tree, forget=("birds",)), tmp_path / "cache")


# --- Splits and caps -------------------------------------------------------------------------


def test_a_files_split_does_not_depend_on_other_files(tree: Path, tmp_path: Path) -> None:
    before = split_by_path(load(config(tree), tmp_path / "cache"))
    assert set(before.values()) == set(SPLITS)
    for number in range(20):
        noise(5000 + number).save(tree / "cats" / f"0{number}-new.png")
    (tree / "dogs" / "003.jpg").unlink()
    after = split_by_path(load(config(tree), tmp_path / "cache"))
    assert len(after) == 79
    assert all(after[path] == split for path, split in before.items() if path in after)


def test_another_seed_splits_otherwise(tree: Path, tmp_path: Path) -> None:
    first, again, second = (
        split_by_path(load(config(tree, seed=seed), tmp_path / "cache")) for seed in (0, 0, 4)
    )
    assert first == again
    assert first.keys() == second.keys()
    assert sum(first[path] != second[path] for path in first) > 5


def test_a_cap_takes_the_first_by_hash(tree: Path, tmp_path: Path) -> None:
    capped = load(config(tree, train_per_class=4, val_per_class=1), tmp_path / "cache")
    whole = split_by_path(load(config(tree), tmp_path / "cache"))
    for name in ("cats", "dogs"):
        for split, most in (("train", 4), ("val", 1), ("test", 64)):
            paths = [p for p, s in whole.items() if s == split and p.startswith(name)]
            wanted = sorted(paths, key=lambda path: splits.split_of(path, 0)[1])[:most]
            found = split_by_path(capped)
            assert {p for p, s in found.items() if s == split and p in paths} == set(wanted)
    assert capped.counts()["forget", "train"] == 4


def test_a_refused_file_takes_no_place_under_a_cap(tree: Path, tmp_path: Path) -> None:
    options = {"train_per_class": 4}
    taken = split_by_path(load(config(tree, **options), tmp_path / "cache"))
    first = min(
        (p for p, s in taken.items() if p.startswith("cats") and s == "train"),
        key=lambda path: splits.split_of(path, 0)[1],
    )
    (tree / first).write_bytes(b"")
    dataset = load(config(tree, **options), tmp_path / "cache")
    assert [each.path for each in dataset.refused] == [first]
    assert dataset.counts()["forget", "train"] == 4
    assert first not in split_by_path(dataset)


# --- Files that are refused ------------------------------------------------------------------


def spoil(tree: Path, outside: Path) -> dict[str, str]:
    """Puts one bad file of each kind into the class cats: path -> part of the reason."""
    for name, (content, _) in REFUSED.items():
        (tree / "cats" / name).write_bytes(content)
    noise(1).save(outside / "outside.png")
    (tree / "cats" / "link.png").symlink_to(outside / "outside.png")
    reasons = {f"cats/{name}": reason for name, (_, reason) in REFUSED.items()}
    return reasons | {"cats/link.png": "a link that leads out of the data root"}


def test_bad_files_are_named_with_their_reason_and_logged_once(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reasons = spoil(tree, tmp_path)
    with caplog.at_level(logging.INFO):
        dataset = load(config(tree), tmp_path / "cache")
    assert [each.path for each in dataset.refused] == sorted(reasons)
    for each in dataset.refused:
        assert each.reason
        assert reasons[each.path] in each.reason
        assert "\n" not in each.reason
    assert len(dataset.pixels) == 60
    assert not split_by_path(dataset).keys() & reasons.keys()

    [record] = caplog.records
    assert record.levelno == logging.WARNING
    message = record.getMessage()
    assert message.startswith(
        f"{len(reasons)} unusable images under {tree}: cats/bomb.png: too many"
    )
    listed = Path(message.partition("; all in ")[2].partition(";")[0])
    assert all(path in listed.read_text() for path in reasons)


def test_strict_stops_and_names_them(tree: Path, tmp_path: Path) -> None:
    (tree / "dogs" / "nothing.png").write_bytes(b"")
    (tree / "cats" / "text.jpg").write_text("not an image")
    assert len(load(config(tree), tmp_path / "cache").refused) == 2
    # whether or not the cache holds it
    for cache in ("cache", "another"):
        with pytest.raises(DataError) as caught:
            load(config(tree, strict=True), tmp_path / cache)
        assert "2 unusable images" in str(caught.value)
        assert "cats/text.jpg: not a JPEG or PNG image; dogs/nothing.png: empty" in str(
            caught.value
        )
    for name in ("dogs/nothing.png", "cats/text.jpg"):
        (tree / name).unlink()
    assert load(config(tree, strict=True), tmp_path / "cache").refused == ()


def test_a_fault_of_the_system_stops_and_is_not_blamed_on_the_image(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> NoReturn:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(Image, "open", fail)
        with pytest.raises(DataError, match=r"cats/\d+\.\w+: Input/output error"):
            load(config(tree), tmp_path / "cache")
    assert load(config(tree), tmp_path / "cache").refused == ()


# --- The cache -------------------------------------------------------------------------------


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files opened so far."""
    seen: list[str] = []
    real = folder.open_image

    def count(path: Path, image_size: int) -> NDArray[np.uint8]:
        seen.append(path.name)
        return real(path, image_size)

    monkeypatch.setattr(folder, "open_image", count)
    return seen


def touch(tree: Path) -> None:
    os.utime(tree / "cats" / "001.jpg", ns=(1, 1))


def rewrite(tree: Path) -> None:
    noise(77).save(tree / "cats" / "001.jpg")


def add(tree: Path) -> None:
    noise(78).save(tree / "cats" / "new.jpg")


@pytest.mark.parametrize("change", [touch, rewrite, add])
def test_only_a_changed_tree_is_decoded_again(
    change: Callable[[Path], None], tree: Path, tmp_path: Path, decoded: list[str]
) -> None:
    first = load(config(tree), tmp_path / "cache")
    assert len(decoded) == 60
    again = load(config(tree), tmp_path / "cache")
    assert len(decoded) == 60
    assert again.fingerprint == first.fingerprint
    change(tree)
    changed = load(config(tree), tmp_path / "cache")
    assert len(decoded) >= 120
    assert (changed.fingerprint == first.fingerprint) == (change is touch)


def test_a_tree_that_moved_and_a_change_elsewhere_are_not_decoded_again(
    tree: Path, tmp_path: Path, decoded: list[str]
) -> None:
    first = load(config(tree), tmp_path / "cache")
    shutil.move(tree, tmp_path / "moved")
    plant(tmp_path / "moved", ["birds"], each=1)
    moved = load(config(tmp_path / "moved", strict=True), tmp_path / "cache")
    assert moved.fingerprint == first.fingerprint
    assert len(decoded) == 60


def test_another_size_is_another_data_set(tree: Path, tmp_path: Path) -> None:
    small, large = (load(config(tree, image_size=side), tmp_path / "cache") for side in (8, 24))
    assert (small.pixels.shape[1], large.pixels.shape[1]) == (8, 24)
    assert small.fingerprint != large.fingerprint


# --- The user's mistakes ---------------------------------------------------------------------


def test_a_class_without_usable_images_names_the_unusable(tree: Path, tmp_path: Path) -> None:
    for path in (tree / "cats").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load(config(tree), tmp_path / "cache")
    message = str(caught.value)
    assert "class 'cats'" in message
    assert "no usable train or val or test image among its 30 files" in message
    assert "30 unusable: cats/" in message
    (tree / "none").mkdir()
    with pytest.raises(DataError, match="among its 0 files"):
        load(config(tree, forget=("none",)), tmp_path / "cache")
    assert [each for each in (tmp_path / "cache").iterdir() if each.is_dir()] == []
