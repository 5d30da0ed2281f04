"""Images that are decoded as they are read: the Parquet store, and augmented views."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch

from tests.helpers.published import of_imagenet
from trainables.data import load
from trainables.data.image_stores import FileStore, ParquetStore, StoredImages


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
        files[-1].write_bytes(dataset.pixels.store.encoded(row))
    rows = np.random.default_rng(0).permutation(len(files))
    for augment in (None, 3):
        first, second = (
            StoredImages(store, 16, augment) for store in (dataset.pixels.store, FileStore(files))
        )
        assert np.array_equal(first.augmented(rows, rows), second.augmented(rows, rows))
    difference = dataset.pixels[rows].astype(int) - plain.pixels[rows]
    assert 0 < np.abs(difference).mean() < 4  # re-encoded, and the same images


def test_a_parquet_store_is_read_without_the_tree(copy: Path, cache: Path) -> None:
    dataset = load(of_imagenet(copy, store="parquet"), cache)
    shutil.rmtree(copy / "train")
    assert len(dataset.pixels[dataset.rows("all", "train")]) == 20


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
