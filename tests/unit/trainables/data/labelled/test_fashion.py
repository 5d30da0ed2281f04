"""The part of Fashion-MNIST that comes with the product."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision import datasets

from tests.helpers.labelled import fashion_mnist
from trainables.config import DataConfig
from trainables.data import labelled, load, splits
from trainables.data.labelled import fashion
from trainables.data.labelled.readers import FASHION


def stored(path: Path = FASHION) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def original(row: dict[str, Any]) -> NDArray[np.uint8]:
    """The 28 x 28 bytes inside a stored image."""
    return np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))[2:30, 2:30]


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return stored()


def test_ten_classes_come_in_equal_numbers_and_no_image_twice(rows: list[dict[str, Any]]) -> None:
    assert FASHION.stat().st_size < 6e6
    counts = Counter((row["label"], row["split"]) for row in rows)
    wanted = {"train": 900, "val": 200, "test": 200}
    assert counts == {(n, split): count for n in range(10) for split, count in wanted.items()}
    assert {(row["split"], row["file"]) for row in rows} == {
        *(("train", "train"), ("val", "train"), ("test", "t10k")),
    }
    assert len({(row["file"], row["index"]) for row in rows}) == len(rows)
    assert len({row["sha256"] for row in rows}) == len(rows)


def test_images_are_the_originals_with_a_black_margin(rows: list[dict[str, Any]]) -> None:
    for row in rows[::40]:
        whole = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
        assert whole.shape == (32, 32)
        assert np.array_equal(np.pad(whole[2:30, 2:30], 2), whole)
        assert hashlib.sha256(original(row).tobytes()).digest() == row["sha256"]


def test_the_source_is_grey_and_has_the_products_roles(tmp_path: Path) -> None:
    given = DataConfig(source="fashion", train_per_class=6, val_per_class=5, test_per_class=4)
    assert splits.data_faults(given) == []
    assert splits.measured_classes(given) == 7
    dataset = load(given, tmp_path / "cache")
    assert dataset.classes == tuple(splits.FASHION)
    assert set(dataset.classes) == set(labelled.class_names(given))
    assert dataset.counts() == {
        (role, split): classes * count
        for role, classes in (("forget", 3), ("retain", 4), ("proxy", 3))
        for split, count in (("train", 6), ("val", 5), ("test", 4))
    }
    rows = stored()
    for row, pixels in zip(dataset.manifest.to_pylist(), dataset.pixels, strict=True):
        source = rows[int(row["path"].rpartition(":")[2])]
        assert row["split"] == source["split"]
        name = fashion.NAMES[source["label"]]
        assert labelled.class_names(given)[row["class"]] == name
        assert np.array_equal(pixels[2:30, 2:30, 0], original(source))
        assert (pixels == pixels[..., :1]).all()
    training = dataset.images(dataset.rows("all", "train"))
    assert dataset.grey == pytest.approx(float(training.mean()), abs=1e-6)


def test_torchvisions_class_names_are_taken_too(tmp_path: Path) -> None:
    few = {"train_per_class": 2, "val_per_class": 2, "test_per_class": 2}
    own, slugs = (
        load(DataConfig(source="fashion", forget=(f,), retain=(r,), **few), tmp_path / "cache")
        for f, r in (("T-shirt/top", "Ankle boot"), ("t-shirt", "ankle-boot"))
    )
    assert own.fingerprint == slugs.fingerprint
    both = DataConfig(source="fashion", forget=("T-shirt/top",), retain=("t-shirt", "coat"))
    [line] = splits.data_faults(both)
    assert line == "class 't-shirt' is in data.forget and data.retain"
    wrong = DataConfig(source="fashion", forget=("boots",), retain=("coats",))
    assert splits.data_faults(wrong) == [
        "data.forget: unknown class 'boots' (close: ankle-boot)",
        "data.retain: unknown class 'coats' (close: coat)",
    ]


# --- The cut ---------------------------------------------------------------------------------


@pytest.fixture
def originals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tiny files of the real format, packed as they are published."""
    fashion_mnist(tmp_path, monkeypatch)
    folder = tmp_path / "FashionMNIST" / "raw"
    for path in list(folder.iterdir()):
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
    sizes = {"train": ("train", 0, 12), "val": ("train", 12, 17), "test": ("t10k", 0, 4)}
    monkeypatch.setattr(fashion, "SPLITS", sizes)
    return folder


def same_as_torchvision(rows: list[dict[str, Any]], root: Path) -> None:
    parts = {name: datasets.FashionMNIST(root, train=name == "train") for name in ("train", "t10k")}
    for row in rows:
        image, label = parts[row["file"]][row["index"]]
        assert label == row["label"]
        assert hashlib.sha256(image.tobytes()).digest() == row["sha256"]
        assert np.array_equal(np.asarray(image), original(row))


def test_the_cut_repeats_and_equals_what_torchvision_reads(originals: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert fashion.main([str(originals), "--out", str(tmp_path / name)]) == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    found = stored(tmp_path / "one")
    assert len(found) == 210
    same_as_torchvision(found, tmp_path)


def test_originals_that_are_missing_or_damaged_are_told_in_one_line(
    originals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = originals / "train-labels-idx1-ubyte.gz"
    for content, shown in (
        (packed.read_bytes()[:-9], "end-of-stream"),
        (gzip.compress(b"something else"), "train-labels-idx1-ubyte.gz is no IDX file of bytes"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x09\0\0"), "cannot reshape"),
        (gzip.compress(b"\0\0\x08\x01\0\0\0\x01\0"), "train has too few images of T-shirt/top"),
        (None, "No such file"),
    ):
        packed.unlink()
        if content is not None:
            packed.write_bytes(content)
        assert fashion.main([str(originals), "--out", str(tmp_path / "out")]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {originals}: not the files of Fashion-MNIST (")
        assert shown in line
        packed.touch()
