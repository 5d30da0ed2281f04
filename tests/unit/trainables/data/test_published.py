"""The published data sets: layouts, splits, subsets, lazy decoding, Parquet, loader workers."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.helpers import published as trees
from trainables.config import LoaderConfig, TrialConfig, UnlearnConfig
from trainables.config.data import DataConfig
from trainables.data import Dataset, load, splits
from trainables.data.__main__ import _measurable, main
from trainables.data.batches import Batches, Pool
from trainables.data.decoding import open_image
from trainables.data.image_stores import FileStore, ParquetStore, StoredImages
from trainables.data.layouts import paper_split
from trainables.data.retain_subset import training_rows
from trainables.shipped import shipped_weights
from trainables.utils.errors import ConfigError, DataError

SIZES = {"train_per_class": 4, "val_per_class": 2, "test_per_class": 3}


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.imagenet(tmp_path_factory.mktemp("imagenet"))


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.coco(tmp_path_factory.mktemp("coco"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def copy(imagenet: Path, tmp_path: Path) -> Path:
    """A tree that a test may spoil."""
    return Path(shutil.copytree(imagenet, tmp_path / "imagenet"))


def of_imagenet(root: Path, **fields: Any) -> DataConfig:
    roles = {"forget": trees.FORGET, "retain": trees.RETAIN, "proxy": trees.PROXY}
    if fields.get("proxy_source") == "coco":
        del roles["proxy"]
    options = {"image_size": 16, **SIZES, **roles, **fields}
    return DataConfig(source="imagenet", root=str(root), **options)


def of_places(root: Path, **fields: Any) -> DataConfig:
    roles = {"forget": trees.FORGOTTEN, "retain": trees.KEPT, "proxy": trees.OTHERS}
    return DataConfig(
        source="places365", root=str(root), image_size=16, **{**SIZES, **roles, **fields}
    )


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


# --- Parquet ---------------------------------------------------------------------------------


def test_the_parquet_store_gives_what_its_files_would(
    imagenet: Path, cache: Path, tmp_path: Path
) -> None:
    plain = load(of_imagenet(imagenet), cache)
    dataset = load(of_imagenet(imagenet, store="parquet", store_side=24), cache)
    assert dataset.counts() == plain.counts()
    assert isinstance(dataset.pixels.store, ParquetStore)
    files = []
    for row in range(len(dataset.pixels)):
        files.append(tmp_path / f"{row}.jpg")
        files[-1].write_bytes(dataset.pixels.store.source(row))
    rows = np.random.default_rng(0).permutation(len(files))
    for augment in (None, 3):
        first, second = (
            StoredImages(encoded, 16, augment)
            for encoded in (dataset.pixels.store, FileStore(files))
        )
        assert np.array_equal(first.augmented(rows, rows), second.augmented(rows, rows))
    difference = dataset.pixels[rows].astype(int) - plain.pixels[rows]
    assert 0 < np.abs(difference).mean() < 4  # re-encoded, and the same images


def test_a_parquet_store_is_read_without_the_tree(copy: Path, cache: Path) -> None:
    dataset = load(of_imagenet(copy, store="parquet"), cache)
    shutil.rmtree(copy / "train")
    assert len(dataset.pixels[dataset.rows("all", "train")]) == 20


# --- Augmentation and loading ----------------------------------------------------------------


def batches(dataset: Dataset, workers: int) -> Batches:
    pools = tuple(
        Pool(dataset.rows(role, "train"), 3, role == "forget", role)
        for role in ("retain", "forget")
    )
    return Batches(dataset, pools, 5, loader=LoaderConfig(workers=workers))


def test_training_images_are_views_and_the_others_are_not(imagenet: Path, cache: Path) -> None:
    plain, drawn = (
        load(of_imagenet(imagenet, augment=augment, views=views), cache)
        for augment, views in ((False, 0), (True, 2))
    )
    assert plain.fingerprint != drawn.fingerprint
    rows = plain.rows("forget", "train")[:2]
    assert torch.equal(plain.images(rows), drawn.images(rows))
    first, second, third = (drawn.read(rows, np.full(2, view)) for view in (0, 1, 2))
    assert torch.equal(first, third)  # two views in turn
    assert not torch.equal(first, second)
    assert not torch.equal(first, plain.read(rows, np.zeros(2, dtype=np.int64)))


@pytest.mark.parametrize("store", ["files", "parquet"])
def test_workers_change_nothing(store: str, imagenet: Path, cache: Path) -> None:
    dataset = load(of_imagenet(imagenet, augment=True, store=store), cache)
    state = torch.get_rng_state()
    alone, together = ([*batches(dataset, workers).steps(1, 6)] for workers in (0, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(alone) == len(together) == 5
    for step, (first, second) in enumerate(zip(alone, together, strict=True), start=1):
        assert torch.equal(first.content, second.content)
        assert torch.equal(first.content, batches(dataset, 0).at(step).content)
        assert torch.equal(first.forget, second.forget)
        assert first.places == second.places


def test_a_file_that_breaks_later_is_told_in_one_line_by_a_worker(copy: Path, cache: Path) -> None:
    dataset = load(of_imagenet(copy), cache)
    lost = dataset.manifest["path"][int(dataset.rows("retain", "train")[0])].as_py()
    trees.spoil(copy / lost)
    with pytest.raises(DataError) as caught:
        [*batches(dataset, 1).steps(0, 4)]
    assert str(caught.value).startswith(f"{copy / lost}: corrupt or truncated")
    assert "\n" not in str(caught.value)


def test_a_loader_that_is_closed_leaves_no_process(imagenet: Path, cache: Path) -> None:
    import multiprocessing

    steps = batches(load(of_imagenet(imagenet), cache), 2).steps(0, 50)
    next(steps)
    assert len(multiprocessing.active_children()) == 2
    steps.close()
    assert multiprocessing.active_children() == []


def test_a_published_data_set_has_no_shipped_original(imagenet: Path) -> None:
    assert shipped_weights(TrialConfig(data=of_imagenet(imagenet))) is None


# --- Availability of retain images -----------------------------------------------------------


def available(dataset: Dataset, source: str, **ratios: float) -> dict[str, int]:
    config = TrialConfig(retain_source=source, unlearn=UnlearnConfig(**ratios))
    return {role: len(rows) for role, rows in training_rows(config, dataset).items()}


def test_ratios_cut_the_retain_images_and_leave_the_forget_images(
    imagenet: Path, cache: Path
) -> None:
    dataset = load(of_imagenet(imagenet), cache)  # 8 forget, 4 retain, 8 proxy
    assert available(dataset, "real") == {"retain": 4, "forget": 8}
    assert available(dataset, "real", retainset_ratio=0.25) == {"retain": 2, "forget": 8}
    assert available(dataset, "1:3", retainset_ratio=0.25, opendata_to_forget_ratio=1.0) == {
        "retain": 2,
        "proxy": 6,
        "forget": 8,
    }
    assert available(dataset, "proxy", opendata_to_forget_ratio=0.5) == {"proxy": 4, "forget": 8}
    with pytest.raises(ConfigError, match="asks for 16 proxy training images of the 8 there are"):
        available(dataset, "proxy", opendata_to_forget_ratio=2.0)
    with pytest.raises(ConfigError, match="is below retainset_ratio"):
        UnlearnConfig(retainset_ratio=0.5, opendata_to_forget_ratio=0.25)


# --- The command -----------------------------------------------------------------------------


def check(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: Any
) -> tuple[int, str, list[str]]:
    status = main(["check", *map(str, arguments), "--storage", str(tmp_path / "runs")])
    shown = capsys.readouterr()
    return status, shown.out, shown.err.splitlines()


def settings(**fields: Any) -> list[str]:
    return [f"--set=data.{name}={value}" for name, value in fields.items()]


@pytest.mark.parametrize(
    ("fewest", "told"),
    [
        (9, ["too few to be measured: 9 test images of the forget classes"]),
        (10, ["320 by the small network, 10240 by Inception; of test there are 10"]),
        (320, [": 10240 by Inception; of test there are 320"]),
        (10240, []),
    ],
)
def test_check_tells_how_many_images_measuring_wants(fewest: int, told: list[str]) -> None:
    many = 20000
    counts = {(role, split): many for role in ("retain", "forget") for split in ("val", "test")}
    found = _measurable({**counts, ("forget", "test"): fewest, ("proxy", "test"): 0})
    assert len(found) == len(told)
    assert all(part in line for part, line in zip(told, found, strict=True))


ROLES = settings(
    forget=",".join(trees.FORGET), retain=",".join(trees.RETAIN), image_size=16, **SIZES
)


def test_check_counts_names_the_unusable_and_writes_the_manifest(
    capsys: pytest.CaptureFixture[str], copy: Path, tmp_path: Path
) -> None:
    trees.spoil(copy / "val" / trees.RETAIN[0] / "ILSVRC2012_val_00020001.JPEG")
    trees.spoil(copy / "val" / trees.RETAIN[0] / "ILSVRC2012_val_00020002.JPEG")
    status, out, faults = check(capsys, tmp_path, copy, *ROLES)
    assert (status, faults) == (0, [])
    assert "imagenet in " in out
    assert "forget          2        8        4        6" in out
    assert "retain          1        4        2        2" in out
    assert "no proxy images" in out
    assert "1 classes have fewer test images than asked for: n09835506 (2 of 3)" in out
    assert "unusable, left out: val/n09835506/ILSVRC2012_val_00020001.JPEG: corrupt" in out
    assert "too few to be measured: 2 val images of the retain classes; a sweep wants 10" in out
    assert out.endswith("usable\n")
    manifest = pq.read_table(tmp_path / "runs" / "imagenet.parquet")
    assert manifest.num_rows == 26
    assert manifest.column_names == ["path", "class", "role", "split", "content_hash"]


def test_check_tells_of_missing_classes(
    capsys: pytest.CaptureFixture[str], copy: Path, tmp_path: Path
) -> None:
    shutil.rmtree(copy / "val" / trees.FORGET[1])
    status, out, faults = check(capsys, tmp_path, copy, *ROLES)
    assert status == 2
    assert "classes: 5 to train, 4 to test" in out
    [line] = faults
    assert "no folder of 1 of the 2 forget classes among the validation images: n01484850" in line
    assert "https://image-net.org/download-images" in line


def test_check_finds_places_and_coco_by_their_layout(
    capsys: pytest.CaptureFixture[str], coco: Path, tmp_path: Path
) -> None:
    places = trees.places(tmp_path / "places")
    roles = settings(forget="airfield", retain="barn", image_size=16, **SIZES)
    status, out, faults = check(capsys, tmp_path, places, "--proxy-root", coco, *roles)
    assert (status, faults) == (0, [])
    assert "places365 in " in out
    assert "4 to train, 4 to test (flat, labelled by places365_val.txt)" in out
    assert "proxy           1        4        0        0" in out
    status, out, faults = check(capsys, tmp_path, coco, *settings(image_size=16, proxy_per_class=7))
    assert (status, faults) == (0, [])
    assert "proxy           1        7        0        0" in out
    for name, shown in (("places365_val.txt", "is flat and"), ("val_256", "no val_256/")):
        target = places / name
        shutil.rmtree(target) if target.is_dir() else target.unlink()
        status, _, [line] = check(capsys, tmp_path, places, *roles)
        assert status == 2
        assert shown in line
        assert "places2.csail.mit.edu" in line


def test_check_tells_of_a_wrong_root(
    capsys: pytest.CaptureFixture[str], imagenet: Path, coco: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, shown in (
        ([tmp_path / "absent"], "absent: no such directory"),
        ([tmp_path / "empty"], "has no known layout (imagenet: train/<wnid>"),
        ([imagenet.parent, "--source", "imagenet"], f"give {imagenet}"),
        ([imagenet / "train", "--source", "imagenet"], f"give {imagenet}"),
        ([coco / "train2017", "--source", "coco"], f"give {coco}"),
        ([tmp_path / "empty", "--source", "places365"], "not Places-365, which has train_256/"),
        ([imagenet, "--set", "seed=1"], "is not data.KEY=VALUE"),
    ):
        status, _, [line] = check(capsys, tmp_path, *arguments)
        assert status == 2
        assert line.startswith("error: ")
        assert shown in line


def test_check_looks_at_a_folder_of_classes(
    capsys: pytest.CaptureFixture[str], imagenet: Path, tmp_path: Path
) -> None:
    root = Path(shutil.copytree(imagenet / "train", tmp_path / "own"))
    for name, plain in zip(trees.FORGET, ("cats", "dogs"), strict=True):
        (root / name).rename(root / plain)
    for name in (*trees.RETAIN, *trees.PROXY):
        shutil.rmtree(root / name)
    status, out, [line] = check(capsys, tmp_path, root)
    assert status == 2
    assert "classes: 2 (cats, dogs)" in out
    assert "needs data.forget and data.retain" in line
    named = settings(forget="cats", retain="dogs", image_size=16, seed=2)
    status, out, faults = check(capsys, tmp_path, root, *named)
    assert (status, faults) == (0, [])
    assert "folder.parquet" in out
