"""The embedded photographs: whole, disjoint, the same everywhere, from the wheels alone."""

from __future__ import annotations

import importlib.metadata
import itertools
import socket
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainables.config import DataConfig, TrialConfig
from trainables.data import Dataset, load, photos, splits
from trainables.data.dataset import fingerprint, hash_pixels
from trainables.data.splits import ROLES, SPLITS
from trainables.utils.errors import DataError

FEW = {"train_per_class": 12, "val_per_class": 4, "test_per_class": 4}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The default data set."""
    return load(DataConfig(), tmp_path_factory.mktemp("cache"))


def corners(dataset: Dataset) -> dict[tuple[str, str], NDArray[np.int64]]:
    """(class, split) -> (y, x) of every crop, as its path says."""
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for row in dataset.manifest.to_pylist():
        y, x = row["path"].rpartition("@")[2].split(",")
        found.setdefault((row["class"], row["split"]), []).append((int(y), int(x)))
    return {key: np.array(places) for key, places in found.items()}


# --- The default -----------------------------------------------------------------------------


def test_every_class_has_its_number_of_crops_in_each_split(whole: Dataset) -> None:
    counted = Counter((row["class"], row["split"]) for row in whole.manifest.to_pylist())
    wanted = {"train": 512, "val": 64, "test": 64}
    assert counted == {(name, split): wanted[split] for name in photos.FILES for split in SPLITS}
    assert whole.counts() == {
        (role, split): 6 * wanted[split] for role in ROLES for split in SPLITS
    }
    assert whole.pixels.shape == (18 * 640, 32, 32, 3)
    assert whole.refused == ()


def test_roles_are_those_of_the_table(whole: Dataset) -> None:
    assert set(photos.FILES) == set(splits.PHOTOGRAPHS)
    assert whole.classes == tuple(splits.PHOTOGRAPHS)
    rows = whole.manifest.to_pylist()
    assert {(row["class"], row["role"]) for row in rows} == set(splits.PHOTOGRAPHS.items())
    for role in ROLES:
        chosen = whole.rows(role, "val")
        assert {rows[row]["role"] for row in chosen} == {role}
        assert {rows[row]["split"] for row in chosen} == {"val"}


def test_a_side_has_enough_images_for_a_frechet_distance(whole: Dataset) -> None:
    width = TrialConfig().extractor.dim
    for role, split in itertools.product(("retain", "forget"), ("val", "test")):
        assert len(whole.rows(role, split)) >= 5 * width


def test_splits_share_no_pixel(whole: Dataset) -> None:
    places = corners(whole)
    for name in whole.classes:
        strips = [
            (int(places[name, split][:, 1].min()), int(places[name, split][:, 1].max()) + 32)
            for split in SPLITS
        ]
        for (_, right), (left, _) in itertools.pairwise(strips):
            assert right <= left, (name, strips)


def test_all_crops_are_distinct(whole: Dataset) -> None:
    paths = whole.manifest.column("path").to_pylist()
    assert len(set(paths)) == len(paths)
    hashes = whole.manifest.column("content_hash").to_pylist()
    assert len(set(hashes)) == len(hashes)


def test_a_crop_is_where_its_path_says(whole: Dataset) -> None:
    rows = whole.manifest.to_pylist()
    for name in ("astronaut", "coins"):
        photograph = photos.open_photograph(name, 32)
        for row in (i for i in range(0, len(rows), 97) if rows[i]["class"] == name):
            y, x = map(int, rows[row]["path"].rpartition("@")[2].split(","))
            crop = photograph[y : y + 32, x : x + 32]
            assert np.array_equal(whole.pixels[row], crop)
            assert rows[row]["content_hash"] == hash_pixels(crop)


def test_every_class_has_contrast_and_colour(whole: Dataset) -> None:
    for name in whole.classes:
        photograph = photos.open_photograph(name, 32)
        assert photograph.shape[2] == 3
        low, high = np.percentile(photograph, (2, 98))
        assert high - low > 120, name
        spread = photograph.max(axis=-1).astype(int) - photograph.min(axis=-1)
        assert spread.mean() > 4, name


def test_images_are_in_the_unit_range_and_labels_index_classes(whole: Dataset) -> None:
    rows = whole.rows("all", "test")
    chosen = rows[::37][::-1]
    images, labels = whole.images(chosen), whole.labels(chosen)
    assert images.shape == (len(chosen), 3, 32, 32)
    assert images.dtype == torch.float32
    assert 0.0 <= float(images.min()) < 0.1
    assert 0.9 < float(images.max()) <= 1.0
    assert np.array_equal(
        (images[0] * 255).round().byte().permute(1, 2, 0), whole.pixels[chosen[0]]
    )
    table = whole.manifest.to_pylist()
    assert [whole.classes[label] for label in labels] == [table[row]["class"] for row in chosen]
    assert len(rows) == sum(len(whole.rows(role, "test")) for role in ROLES)


# --- Where they come from --------------------------------------------------------------------


def test_photographs_are_files_of_the_installed_wheels() -> None:
    for package, wheel in (("skimage", "scikit-image"), ("sklearn", "scikit-learn")):
        held = {each.as_posix() for each in importlib.metadata.files(wheel) or ()}
        wanted = {
            f"{package}/{each.file}" for each in photos.FILES.values() if each.package == package
        }
        assert wanted
        assert wanted <= held


def test_no_photograph_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> NoReturn:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    dataset = load(DataConfig(**FEW), tmp_path)
    assert len(dataset.pixels) == 18 * 20


def test_a_photograph_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("skimage", "no_such_package"):
        monkeypatch.setitem(photos.FILES, "moon", photos.Photograph(package, "data/lost.png"))
        with pytest.raises(DataError, match=f"'moon' is not in the installed {package}"):
            photos.open_photograph("moon", 32)


# --- Seeds, roles, sizes ---------------------------------------------------------------------


def test_two_caches_hold_the_same_bytes(tmp_path: Path) -> None:
    first, second = (load(DataConfig(**FEW), tmp_path / name) for name in ("one", "two"))
    assert first.fingerprint == second.fingerprint
    assert first.manifest.equals(second.manifest)
    assert np.array_equal(first.pixels, second.pixels)
    one, two = ({each.name for each in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


def test_the_cache_answers_a_second_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(DataConfig(**FEW), tmp_path)

    def refuse(*args: Any) -> NoReturn:
        raise AssertionError("a photograph was opened again")

    monkeypatch.setattr(photos, "open_photograph", refuse)
    again = load(DataConfig(**FEW), tmp_path)
    assert again.fingerprint == first.fingerprint
    with pytest.raises(AssertionError, match="opened again"):
        load(DataConfig(seed=1, **FEW), tmp_path)


def test_another_seed_draws_other_crops(tmp_path: Path) -> None:
    first, second = (load(DataConfig(seed=seed, **FEW), tmp_path) for seed in (0, 1))
    assert first.fingerprint != second.fingerprint
    assert first.counts() == second.counts()
    one, two = (set(each.manifest.column("path").to_pylist()) for each in (first, second))
    assert len(one & two) < len(one) / 10


def test_a_seed_draws_a_class_alike_whatever_the_others(tmp_path: Path) -> None:
    few = load(DataConfig(forget=("coffee",), retain=("coins",), **FEW), tmp_path)
    all_of_them = load(DataConfig(**FEW), tmp_path)
    assert corners(few).keys() < corners(all_of_them).keys()
    for key, places in corners(few).items():
        assert np.array_equal(places, corners(all_of_them)[key])


def test_the_user_assigns_other_roles(tmp_path: Path) -> None:
    config = DataConfig(forget=("brick",), retain=("camera", "astronaut"), proxy=("cell",), **FEW)
    dataset = load(config, tmp_path)
    assert dataset.classes == ("brick", "camera", "astronaut", "cell")
    assert [len(dataset.rows(role, "train")) for role in ROLES] == [12, 24, 12]
    without = load(DataConfig(forget=("brick",), retain=("camera",), **FEW), tmp_path)
    assert without.counts()["proxy", "train"] == 0
    assert without.fingerprint != dataset.fingerprint


def test_a_split_file_assigns_roles(tmp_path: Path) -> None:
    listed = tmp_path / "roles.csv"
    listed.write_text("class,role\nmoon,forget\npage,retain\n")
    config = DataConfig(split_file=str(listed), **FEW)
    assert load(config, tmp_path / "cache").classes == ("moon", "page")
    # the same lines in another order are other labels, which the cache must not mix up
    listed.write_text("class,role\npage,retain\nmoon,forget\n")
    assert load(config, tmp_path / "cache").classes == ("page", "moon")


@pytest.mark.parametrize("image_size", [16, 40])
def test_other_image_sizes(image_size: int, tmp_path: Path) -> None:
    dataset = load(DataConfig(image_size=image_size, **FEW), tmp_path)
    assert dataset.pixels.shape == (18 * 20, image_size, image_size, 3)
    for name, split in itertools.product(dataset.classes, SPLITS):
        assert len(np.unique(corners(dataset)[name, split], axis=0)) == FEW[f"{split}_per_class"]
    for name in dataset.classes:
        train, val, test = (corners(dataset)[name, split][:, 1] for split in SPLITS)
        assert train.max() + image_size <= val.min()
        assert val.max() + image_size <= test.min()


def test_more_crops_than_there_are_is_refused(tmp_path: Path) -> None:
    config = DataConfig(image_size=8, val_per_class=5000)
    with pytest.raises(
        DataError, match=r"'astronaut' has \d+ val crops.*val_per_class asks for 5000"
    ):
        load(config, tmp_path)
    assert [each for each in tmp_path.iterdir() if each.is_dir()] == []


def test_an_unknown_photograph_lists_close_names(tmp_path: Path) -> None:
    config = DataConfig(forget=("coffe",), retain=("zzz",))
    found = splits.data_faults(config)
    assert len(found) == 2
    assert "data.forget: unknown class 'coffe' (close: coffee" in found[0]
    assert "data.retain: unknown class 'zzz' (there are: astronaut" in found[1]
    with pytest.raises(DataError, match="coffee"):
        load(config, tmp_path)


def test_roles_without_forget_or_retain_are_refused(tmp_path: Path) -> None:
    assert splits.data_faults(DataConfig()) == []
    config = DataConfig(proxy=("moon",))
    assert splits.data_faults(config) == [
        "data.forget: no class named",
        "data.retain: no class named",
    ]
    with pytest.raises(DataError, match="no class named"):
        load(config, tmp_path)


def test_a_fingerprint_is_of_every_column_in_order(whole: Dataset) -> None:
    assert whole.fingerprint == fingerprint(whole.manifest)
    few = whole.manifest.slice(0, 20)
    seen = {fingerprint(few), fingerprint(few.take(list(reversed(range(20)))))}
    for place, column in enumerate(few.column_names):
        values = few.column(column).to_pylist()
        changed = few.set_column(place, column, [[*values[:-1], "other"]])
        seen.add(fingerprint(changed))
    assert len(seen) == 2 + len(few.column_names)
