"""Data sources by name. A data set is built once into a cache and memory-mapped by every trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trainables.config import DataConfig, SourceName
from trainables.data.dataset import Dataset


def _photos(config: DataConfig, cache: Path) -> Dataset:
    from trainables.data import photos

    return photos.load(config, cache)


def _folder(config: DataConfig, cache: Path) -> Dataset:
    from trainables.data import folder

    return folder.load(config, cache)


def _published(config: DataConfig, cache: Path) -> Dataset:
    from trainables.data import published

    return published.load(config, cache)


SOURCES: dict[SourceName, Callable[[DataConfig, Path], Dataset]] = {
    "photos": _photos,
    "folder": _folder,
    "imagenet": _published,
    "places365": _published,
}


def load(config: DataConfig, cache: Path) -> Dataset:
    """The data set of a configuration.

    Raises:
        DataError: data that is missing, or that holds what it must not.
    """
    return SOURCES[config.source](config, cache)


__all__ = ["SOURCES", "Dataset", "load"]
