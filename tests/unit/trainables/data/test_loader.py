"""Batches that are read by processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers import published as trees
from tests.helpers.published import of_imagenet
from trainables.config import LoaderConfig
from trainables.data import Dataset, load
from trainables.data.batches import Batches, Pool
from trainables.utils.errors import DataError


def batches(dataset: Dataset, workers: int) -> Batches:
    pools = tuple(
        Pool(dataset.rows(role, "train"), 3, role == "forget", role)
        for role in ("retain", "forget")
    )
    return Batches(dataset, pools, 5, loader=LoaderConfig(workers=workers))


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
