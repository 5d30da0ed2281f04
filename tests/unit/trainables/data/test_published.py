"""The published data sets: layouts, splits, subsets, lazy decoding, Parquet, loader workers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers import published as trees
from tests.helpers.published import of_imagenet, of_places
from trainables.config import TrialConfig
from trainables.config.data import DataConfig
from trainables.data import Dataset, load, splits
from trainables.data.decoding import open_image
from trainables.data.layouts import paper_split
from trainables.shipped import shipped_weights
from trainables.utils.errors import ConfigError, DataError


def paths(dataset: Dataset, split: str) -> set[str]:
    return {row["path"] for row in dataset.manifest.to_pylist() if row["split"] == split}


# --- Layouts ---------------------------------------------------------------------------------


def test_the_papers_splits_have_the_papers_sizes() -> None:
    counts = {}
    for source in ("imagenet", "places365"):
        roles = list(paper_split(source).values())
        counts[source] = tuple(map(roles.count, ("forget", "retain", "proxy")))
    assert counts == {"imagenet": (100, 100, 0), "places365": (50, 50, 265)}
    given = DataConfig(source="imagenet", root="x")
    assert splits.measured_classes(given) == 200


def test_imagenet_trains_on_train_and_tests_on_val(imagenet: Path, cache: Path) -> None:
    dataset = load(of_imagenet(imagenet), cache)
    assert dataset.classes == (*trees.FORGET, *trees.RETAIN, *trees.PROXY)
    assert dataset.counts() == {
        ("forget", "train"): 8,
        ("forget", "val"): 4,
        ("forget", "test"): 6,
        ("retain", "train"): 4,
        ("retain", "val"): 2,
        ("retain", "test"): 3,
        ("proxy", "train"): 8,
        ("proxy", "val"): 0,
        ("proxy", "test"): 0,
    }
    assert all(path.startswith("val/") for path in paths(dataset, "test"))
    assert all(path.startswith("train/") for path in paths(dataset, "val"))
    assert not paths(dataset, "val") & paths(dataset, "train")
    rows = dataset.rows("all", "train")[::3]
    wanted = np.stack(
        [open_image(imagenet / dataset.manifest["path"][i].as_py(), 16) for i in rows]
    )
    assert np.array_equal(dataset.pixels[rows], wanted)
    assert dataset.images(rows).shape == (len(rows), 3, 16, 16)


def test_what_is_validated_on_does_not_depend_on_how_much_is_trained_on(
    imagenet: Path, cache: Path
) -> None:
    few, many = (load(of_imagenet(imagenet, train_per_class=count), cache) for count in (2, 4))
    assert paths(few, "val") == paths(many, "val")
    assert paths(few, "train") < paths(many, "train")


def test_the_other_classes_are_the_papers_proxy(imagenet: Path) -> None:
    given = DataConfig(source="imagenet", root=str(imagenet))
    lines = splits.data_faults(given)
    assert len(lines) == 4  # two roles, train and val: this tree has three of the 200 classes
    assert "no folder of 98 of the 100 forget classes among the training images" in lines[0]
    assert "image-net.org" in lines[0]


@pytest.mark.parametrize(("nested", "flat_val"), [(True, True), (False, True), (False, False)])
def test_places_in_each_of_its_layouts(nested: bool, flat_val: bool, tmp_path: Path) -> None:
    root = trees.places(tmp_path / "places", nested=nested, flat_val=flat_val)
    given = of_places(root, retain=("/d/desert/sand", "barn"))
    assert splits.data_faults(given) == []
    dataset = load(given, tmp_path / "cache")
    assert dataset.classes == ("airfield", "desert/sand", "barn", "wet_bar")
    sand = [row for row in dataset.manifest.to_pylist() if row["class"] == "desert/sand"]
    tested = [row["path"].rpartition("_")[2] for row in sand if row["split"] == "test"]
    assert len(tested) == 3
    assert set(tested) <= {f"{number:08}.jpg" for number in range(5, 9)}


@pytest.mark.parametrize("below", ["", "images"])
def test_coco_takes_the_place_of_proxy_classes(below: str, imagenet: Path, tmp_path: Path) -> None:
    root = trees.coco(tmp_path / "coco", below=below)
    given = of_imagenet(imagenet, proxy_source="coco", proxy_root=str(root), train_per_class=3)
    assert splits.class_roles(given)["coco"] == "proxy"
    dataset = load(given, tmp_path / "cache")
    assert dataset.counts()["proxy", "train"] == 6  # as many as the forget classes
    rows = dataset.rows("proxy", "train")
    path = dataset.manifest["path"][int(rows[0])].as_py()
    assert np.array_equal(dataset.pixels[rows[:1]][0], open_image(root / path, 16))
    more = dataclasses.replace(given, proxy_per_class=9)
    assert load(more, tmp_path / "cache").counts()["proxy", "train"] == 9


def test_subsets_depend_on_the_seed_and_not_on_the_order_of_creation(
    imagenet: Path, cache: Path, tmp_path: Path
) -> None:
    backwards = trees.imagenet(tmp_path / "again", backwards=True)
    first, second = (load(of_imagenet(root), cache) for root in (imagenet, backwards))
    assert first.fingerprint == second.fingerprint
    other = load(of_imagenet(imagenet, seed=1), cache)
    assert paths(other, "train") != paths(first, "train")


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"source": "imagenet"}, "source=imagenet needs data.root"),
        ({"proxy_source": "coco", "proxy_root": "x"}, "proxy_source=coco needs data.source"),
        (
            {"source": "imagenet", "root": "x", "proxy_source": "coco"},
            "proxy_source=coco needs data.proxy_root",
        ),
        ({"store": "parquet"}, "store=parquet needs data.source"),
        ({"augment": True}, "augment=true needs data.source"),
        ({"views": -1}, "views=-1 is below 0"),
    ],
)
def test_options_that_contradict_each_other_are_refused(fields: dict[str, Any], shown: str) -> None:
    with pytest.raises(ConfigError, match=shown):
        DataConfig(**fields)


# --- Files that cannot be used ---------------------------------------------------------------


def test_an_unusable_file_is_named_and_another_takes_its_place(copy: Path, cache: Path) -> None:
    before = load(of_imagenet(copy), cache)
    lost = sorted(paths(before, "train"))[0]
    trees.spoil(copy / lost)
    after = load(of_imagenet(copy), cache)
    assert [each.path for each in after.refused] == [lost]
    assert after.counts() == before.counts()
    assert len(paths(after, "train") - paths(before, "train")) == 1
    with pytest.raises(DataError, match="1 unusable images"):
        load(of_imagenet(copy, strict=True), cache)


def test_a_class_without_usable_images_is_named(copy: Path, tmp_path: Path) -> None:
    for path in (copy / "val" / trees.FORGET[0]).iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"'n01443537' of .* has no usable test image among its 4"):
        load(of_imagenet(copy), tmp_path)


def test_a_published_data_set_has_no_shipped_original(imagenet: Path) -> None:
    assert shipped_weights(TrialConfig(data=of_imagenet(imagenet))) is None
