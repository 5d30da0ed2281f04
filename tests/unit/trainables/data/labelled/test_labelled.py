"""Labelled images in the formats of torchvision and of the Hugging Face hub."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torchvision import datasets

from tests.helpers import labelled as formats
from tests.helpers.labelled import TEST, TRAIN, WRITERS, hub, of_torchvision, picture, shard
from tests.helpers.tiny import tiny
from trainables.config import TORCHVISION, DataConfig
from trainables.config.overrides import apply_overrides
from trainables.data import Dataset, labelled, load, splits
from trainables.data.__main__ import main
from trainables.training.context import Context
from trainables.trial import run_trial
from trainables.utils.errors import DataError


def by_path(dataset: Dataset) -> dict[str, tuple[str, str]]:
    return {row["path"]: (row["class"], row["split"]) for row in dataset.manifest.to_pylist()}


def counted(dataset: Dataset) -> Counter[tuple[str, str]]:
    return Counter(by_path(dataset).values())


# --- Data sets of torchvision ----------------------------------------------------------------


@pytest.mark.parametrize("name", WRITERS)
def test_a_data_set_of_torchvision_gives_its_images_and_classes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, (forget, retain) = WRITERS[name]
    write(tmp_path, monkeypatch)
    given = of_torchvision(tmp_path, name)
    assert splits.data_faults(given) == []
    dataset = load(given, tmp_path / "cache")
    assert list(labelled.class_names(given).values()).count(forget) == 1
    assert [labelled.class_names(given)[slug] for slug in dataset.classes] == [forget, retain]
    slug = dataset.classes[0]
    named = load(of_torchvision(tmp_path, name, forget=(slug,)), tmp_path / "cache")
    assert named.fingerprint == dataset.fingerprint
    kind = getattr(datasets, name)
    parts = {part: kind(tmp_path, **options) for part, options in TORCHVISION[name].items()}
    for row, pixels in zip(dataset.manifest.to_pylist(), dataset.pixels, strict=True):
        part, _, place = row["path"].partition("/")
        image, label = parts[part][int(place)]
        own = parts[part].classes[label]
        assert labelled.class_names(given)[row["class"]] in (own, own[0])
        if image.size == (32, 32):
            assert np.array_equal(pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("name", TORCHVISION)
def test_every_listed_data_set_is_torchvisions_and_has_the_listed_parts(
    name: str, tmp_path: Path
) -> None:
    given = DataConfig(source="torchvision", root=str(tmp_path), dataset=name)
    [line] = splits.data_faults(given)
    assert line.startswith(f"data.root={tmp_path}: torchvision reads no {name} there (")
    # a part that it has not would be another fault
    assert "not found" in line
    assert line.endswith("--set data.download=true")


@pytest.mark.parametrize(
    ("name", "val", "test"), [("CIFAR10", 0, TEST), ("Flowers102", TEST, TEST), ("EuroSAT", 0, 0)]
)
def test_parts_keep_their_purpose_and_what_is_missing_is_cut_from_training_images(
    name: str, val: int, test: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WRITERS[name][0](tmp_path, monkeypatch)
    dataset = load(of_torchvision(tmp_path, name), tmp_path / "cache")
    for path, (_, split) in by_path(dataset).items():
        part = path.partition("/")[0]
        assert part == split or (part == "train" and split not in TORCHVISION[name])
    for slug in dataset.classes:
        found = {split: counted(dataset)[slug, split] for split in splits.SPLITS}
        assert sum(found.values()) == (60 if name == "EuroSAT" else TRAIN + val + test)
        assert found["val"] == val or not val
        assert found["test"] == test or not test
        assert 0 < found["val"] < found["train"]


def test_files_that_fail_their_checksum_are_refused_and_not_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formats.cifar10(tmp_path, monkeypatch)
    marker = tmp_path / "marker"
    assert splits.data_faults(of_torchvision(tmp_path, "CIFAR10")) == []

    class Touching:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(Touching()))
    labelled._class_names.cache_clear()
    [line] = splits.data_faults(of_torchvision(tmp_path, "CIFAR10"))
    assert "not found or corrupted" in line
    with pytest.raises(DataError, match="not found or corrupted"):
        load(of_torchvision(tmp_path, "CIFAR10"), tmp_path / "cache")
    assert not marker.exists()


def test_an_image_that_torchvision_cannot_open_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formats.food101(tmp_path, monkeypatch)
    (tmp_path / "food-101" / "images" / "sushi" / "0.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    dataset = load(of_torchvision(tmp_path, "Food101"), tmp_path / "cache")
    [refused] = dataset.refused
    assert refused.path == f"train/{TRAIN}"
    assert refused.path not in by_path(dataset)


# --- Parquet ---------------------------------------------------------------------------------


def of_hub(root: Path, **fields: Any) -> DataConfig:
    usual = {"forget": ("tench-tinca-tinca",), "retain": ("crane-1",), "proxy": ("crane-2",)}
    return DataConfig(source="parquet", root=str(root), **{**usual, **fields})


def test_shards_of_the_hub_give_their_images_and_classes(tmp_path: Path) -> None:
    given = of_hub(hub(tmp_path / "hub"))
    assert splits.data_faults(given) == []
    dataset = load(given, tmp_path / "cache")
    assert list(labelled.class_names(given)) == ["tench-tinca-tinca", "crane-1", "crane-2"]
    for row, pixels in zip(dataset.manifest.to_pylist(), dataset.pixels, strict=True):
        name, _, place = row["path"].partition(":")
        first = {"train-00000": 0, "train-00001": 1000, "validation-": 5000}
        seed = next(each for start, each in first.items() if name.startswith(f"data/{start}"))
        assert np.array_equal(pixels, picture(seed + int(place)))
        assert row["class"] == dataset.classes[int(place) % 3]
        # without labels of its own, the test part is that for validation
        assert (row["split"] == "test") == (seed == 5000)
    assert counted(dataset)["crane-1", "test"] == TEST
    # a name that two classes share is neither's
    assert splits.data_faults(of_hub(tmp_path / "hub", retain=("crane",), proxy=())) == [
        "data.retain: unknown class 'crane' (close: crane-2, crane-1)"
    ]
    by_own_name = of_hub(tmp_path / "hub", forget=("tench, Tinca tinca",))
    assert load(by_own_name, tmp_path / "cache").fingerprint == dataset.fingerprint


def test_other_columns_are_found_by_their_type_and_broken_images_left_out(tmp_path: Path) -> None:
    path = tmp_path / "hub" / "cifar" / "train" / "0000.parquet"
    shard(path, formats.labels(3, 60).tolist(), columns=("img", "fine_label"))
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0]["img"], rows[3]["img"]["bytes"], rows[6]["img"]["bytes"] = None, None, b"GIF89a"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    dataset = load(of_hub(tmp_path / "hub"), tmp_path / "cache")
    reasons = {each.path.rpartition(":")[2]: each.reason for each in dataset.refused}
    assert reasons == {"0": "empty file", "3": "empty file", "6": "not a JPEG or PNG image"}
    assert sum(counted(dataset).values()) == 177
    with pytest.raises(DataError, match="3 unusable images"):
        load(of_hub(tmp_path / "hub", strict=True), tmp_path / "cache")


def test_only_changed_shards_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = of_hub(hub(tmp_path / "hub"), train_per_class=5)
    storage = tmp_path / "hub" / "runs"  # inside, where it is no part of the data
    first = load(given, storage / "cache")
    assert max(counted(first).values()) == TEST
    (storage / "record").touch()
    with monkeypatch.context() as patched:
        patched.setattr(labelled, "build_listed", None)
        assert load(given, storage / "cache").fingerprint == first.fingerprint
    shard(tmp_path / "hub" / "data" / "train-00000-of-00002.parquet", [0, 1, 2] * 30, 9000)
    assert load(given, storage / "cache").fingerprint != first.fingerprint


@pytest.mark.parametrize("metadata", ["{", "{}", '{"info": {"features": {}}}'])
def test_a_shard_that_is_not_of_the_hub_is_named(metadata: str, tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    table = pa.table({"image": [b"x"], "label": [0]})
    pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), path)
    [line] = splits.data_faults(of_hub(tmp_path))
    assert line.startswith(f"{path}: not labelled images as the Hugging Face hub stores them (")
    path.write_bytes(b"not Parquet")
    assert str(path) in splits.data_faults(of_hub(tmp_path))[0]
    pq.write_table(table, path)
    assert "no Parquet files in it whose schema names" in splits.data_faults(of_hub(tmp_path))[0]


# --- The user's mistakes ---------------------------------------------------------------------


def test_class_names_fit_a_command_line_and_stay_distinct() -> None:
    short = {
        "T-shirt/top": "t-shirt",
        "Ankle boot": "ankle-boot",
        "desert/sand": "desert-sand",
        "desert/road": "desert-road",
        "A": "a-4",
        "a": "a-5",
        "café, bar": "café-bar",
    }
    assert labelled._slugs(list(short)) == list(short.values())


def test_mistakes_end_the_check_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    formats.cifar10(tmp_path / "cifar", monkeypatch)
    hub(tmp_path / "hub")
    (tmp_path / "empty").mkdir()
    cifar = ("--source", "torchvision", "--set", "data.dataset=CIFAR10")
    for arguments, shown in (
        (["empty", *cifar], "torchvision reads no CIFAR10 there (Dataset not found"),
        (["none", *cifar], "none: no such directory"),
        (["cifar", *cifar], "classes there: airplane, automobile, bird, cat"),
        (["cifar", *cifar, "--set", "data.forget=Cat", "--set", "data.retain=brd"], "(close: cat)"),
        (["cifar", *cifar[:3], "data.dataset=CIFAR"], "is read here (close: CIFAR10, CIFAR100)"),
        (["cifar", "--source", "torchvision"], "data.dataset='' is no data set of torchvision"),
        (["hub"], "data.source=parquet needs data.forget and data.retain"),
        (["hub", "--set", "data.dataset=CIFAR10"], "dataset needs data.source=torchvision"),
        (["hub", "--set", "data.download=true"], "download=true needs data.source=torchvision"),
        (["empty", "--source", "parquet"], "no Parquet files in it"),
    ):
        place, *rest = arguments
        given = [str(tmp_path / place), *rest, "--storage", str(tmp_path / "runs")]
        assert main(["check", *given]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines
        assert all(line.startswith("error: ") for line in lines)
        assert shown in lines[0]


def test_what_may_not_be_downloaded_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def missing(root: str, *, download: bool, **options: Any) -> None:
        asked.append(download)
        raise OSError("no network")

    monkeypatch.setattr(datasets, "CIFAR10", missing)
    root = tmp_path / "new"
    [line] = splits.data_faults(of_torchvision(root, "CIFAR10", download=True))
    assert line == f"data.root={root}: torchvision reads no CIFAR10 there (no network)"
    assert splits.data_faults(of_torchvision(root, "CIFAR10"))[0].endswith("no such directory")
    root.mkdir()
    splits.data_faults(of_torchvision(root, "CIFAR10"))
    assert asked == [True, False]


def test_check_counts_the_images_of_any_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    formats.cifar10(tmp_path / "cifar", monkeypatch)
    named = ["--set", "data.forget=cat", "--set", "data.retain=bird"]
    storage = ["--storage", str(tmp_path / "runs")]
    torchvision = ["--source", "torchvision", "--set", "data.dataset=CIFAR10"]
    assert main(["check", str(tmp_path / "cifar"), *torchvision, *named, *storage]) == 0
    assert "CIFAR10 in " in capsys.readouterr().out
    assert (tmp_path / "runs" / "torchvision.parquet").is_file()
    hub(tmp_path / "hub")
    named = ["--set", "data.forget=crane-1", "--set", "data.retain=crane-2"]
    assert main(["check", str(tmp_path / "hub"), *named, *storage]) == 0
    out = capsys.readouterr().out
    assert "classes: 3 (tench-tinca-tinca, crane-1, crane-2)" in out
    assert out.endswith("usable\n")


def test_images_smaller_than_half_the_size_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formats.cifar10(tmp_path, monkeypatch)
    assert Image.fromarray(picture(0)).size == (32, 32)
    with pytest.raises(DataError, match="32x32 is too small"):
        load(of_torchvision(tmp_path, "CIFAR10", image_size=128), tmp_path / "cache")


def test_the_page_lists_every_data_set() -> None:
    page = (Path(__file__).parents[5] / "docs" / "own-data.md").read_text()
    listed = page.partition("stores it there: ")[2].partition(". With")[0]
    assert re.split(r",\s+", listed) == sorted(TORCHVISION)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["CIFAR10", "hub", "fashion"])
def test_a_trial_runs_on_labelled_images_from_data_to_figures(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields: dict[str, Any] = {"data.source": "fashion"}
    if kind == "CIFAR10":
        formats.cifar10(tmp_path / "data", monkeypatch)
        fields = {"data.source": "torchvision", "data.dataset": kind}
        fields |= {"data.forget": ["cat"], "data.retain": ["bird"]}
    elif kind == "hub":
        hub(tmp_path / "data")
        fields = {"data.source": "parquet", "data.forget": ["crane-1"], "data.retain": ["crane-2"]}
    if kind != "fashion":
        fields["data.root"] = str(tmp_path / "data")
    few = {"evaluation.is_splits": 2, "data.test_per_class": 4, "data.val_per_class": 4}
    config = apply_overrides(tiny(method="noisy_label"), {**fields, **few})
    result = run_trial(config, Context(folder=tmp_path / "trial", cache=tmp_path / "cache"))
    assert np.isfinite([result["metrics"]["retain/fid"], result["metrics"]["forget/fid"]]).all()
    name = {"hub": "parquet"}.get(kind, kind)
    assert result["extractors"]["fid_extractor"] == f"{name} CNN"
