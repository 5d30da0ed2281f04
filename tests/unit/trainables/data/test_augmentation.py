"""Views of images: seeded, of the same content, and new each time."""

import numpy as np
import pytest
import torch

from trainables.config import DataConfig
from trainables.data import load
from trainables.data.augmentation import TurnedViews
from trainables.data.dataset import Dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    config = DataConfig(train_per_class=4, val_per_class=2, test_per_class=2)
    return load(config, tmp_path_factory.mktemp("cache"))


def test_a_view_is_a_function_of_seed_image_and_turn(dataset: Dataset) -> None:
    rows = dataset.rows("all", "train")[:6]
    first = np.zeros(6, dtype=np.int64)
    views = TurnedViews(dataset, 3)
    read = views.read(rows, first)
    assert read.shape == (6, 32, 32, 3)
    assert read.dtype == torch.uint8
    assert torch.equal(read, TurnedViews(dataset, 3).read(rows, first))
    assert torch.equal(read[2:4], views.read(rows[2:4], first[2:4]))
    assert not torch.equal(read, views.read(rows, first + 1))
    assert not torch.equal(read, TurnedViews(dataset, 4).read(rows, first))


def test_views_turn_mirror_and_tone_and_keep_the_order_of_values(dataset: Dataset) -> None:
    row = dataset.rows("all", "train")[:1].repeat(64)
    plain = dataset.read(row[:1]).numpy()[0]
    views = TurnedViews(dataset, 0).read(row, np.arange(64)).numpy()
    eight = [np.rot90(each, n) for each in (plain, plain[:, ::-1]) for n in range(4)]
    met = set()
    for view in views:
        fits = [
            i
            for i, turned in enumerate(eight)
            if all(_is_monotone(turned[..., c], view[..., c]) for c in range(3))
        ]
        assert len(fits) == 1
        met |= set(fits)
    assert met == set(range(8))
    assert not np.array_equal(np.sort(views[0].ravel()), np.sort(plain.ravel()))


def test_views_of_grey_images_are_grey(dataset: Dataset) -> None:
    light = np.asarray(dataset.read(dataset.rows("all", "train")[:1])).mean(axis=-1, keepdims=True)
    grey = Dataset(
        dataset.manifest, light.astype(np.uint8).repeat(3, axis=-1), "", dataset.classes, grey=0.5
    )
    rows, turns = np.zeros(9, dtype=np.int64), np.arange(9)
    toned = TurnedViews(grey, 0, grey=True).read(rows, turns).numpy()
    assert (toned == toned[..., :1]).all()
    tinted = TurnedViews(grey, 0).read(rows, turns).numpy()
    assert np.array_equal(toned[..., 0], tinted[..., 0])
    assert not (tinted == tinted[..., :1]).all()


def _is_monotone(before: np.ndarray, after: np.ndarray) -> bool:
    order = np.argsort(before, axis=None, kind="stable")
    return bool((np.diff(after.ravel()[order].astype(int)) >= 0).all())


def test_black_and_white_stay(dataset: Dataset) -> None:
    black_and_white = Dataset(
        dataset.manifest,
        np.repeat(np.array([[[[0, 255, 0]]]], dtype=np.uint8), 16, axis=1).repeat(16, axis=2),
        "",
        dataset.classes,
    )
    seen = TurnedViews(black_and_white, 0).read(np.zeros(9, dtype=np.int64), np.arange(9))
    assert set(seen.unique().tolist()) == {0, 255}
