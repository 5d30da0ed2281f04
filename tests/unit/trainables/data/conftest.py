"""Small directories of images: of classes, of ImageNet and of COCO; and a cache for them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers import published as trees
from tests.helpers.trees import plant


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return plant(tmp_path / "tree")


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.imagenet(tmp_path_factory.mktemp("alone") / "imagenet")


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trees.coco(tmp_path_factory.mktemp("alone") / "coco")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def copy(imagenet: Path, tmp_path: Path) -> Path:
    """A tree that a test may spoil."""
    return Path(shutil.copytree(imagenet, tmp_path / "imagenet"))
