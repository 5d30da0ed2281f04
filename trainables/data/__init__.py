"""Data sources by name. A data set is built once into a cache and memory-mapped by every trial."""

from __future__ import annotations

import importlib
from pathlib import Path

from trainables.config import DataConfig, SourceName
from trainables.data.dataset import Dataset

# the module of this package whose `load` knows a source; imported where it is used, since
# planning imports this package and must not wait for torch
SOURCES: dict[SourceName, str] = {
    "photos": "photos",
    "fashion": "labelled",
    "folder": "folder",
    "torchvision": "labelled",
    "parquet": "labelled",
    "imagenet": "published",
    "places365": "published",
}


def load(config: DataConfig, cache: Path) -> Dataset:
    """Returns the data set of a configuration.

    Args:
        config: names the source, its images and their roles.
        cache: where the data set is kept once it is built.

    Raises:
        DataError: data that is missing, or that holds what it must not.
    """
    module = importlib.import_module(f"{__name__}.{SOURCES[config.source]}")
    dataset: Dataset = module.load(config, cache)
    return dataset


__all__ = ["SOURCES", "Dataset", "load"]
