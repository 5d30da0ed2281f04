"""Reads labelled images: data sets of torchvision, and Parquet files of the Hugging Face hub."""

from __future__ import annotations

import contextlib
import functools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from trainables.config import TORCHVISION, DataConfig
from trainables.data.decoding import UnusableError, centred, convert, decode
from trainables.data.layouts import require_directory
from trainables.utils.errors import DataError
from trainables.utils.text import one_line

FASHION = Path(__file__).with_name("fashion.parquet")
# an image `(H, W, 3)`, or why it cannot be used
Pixels = NDArray[np.uint8] | str
# the part that a split's name begins with, as the Hugging Face hub names splits
_PARTS = {"train": "train", "valid": "val", "val": "val", "dev": "val", "test": "test"}
_FOREIGN = (OSError, ValueError, LookupError, TypeError, AttributeError, pa.ArrowException)


class LabelledImages(Protocol):
    """The images of a data set, each by a path of its own.

    Attributes:
        names: of the classes, by label.
    """

    names: Sequence[str]

    def rows(self) -> Iterator[tuple[str, str, int]]:
        """Yields the path, the part and the label of every image."""

    def read(self, paths: Sequence[str], side: int) -> Iterator[tuple[str, Pixels]]:
        """Yields each of some paths, in any order, with its `Pixels`, `side` a side."""


class _Torchvision:
    """A data set of torchvision, each of its parts.

    Raises:
        DataError: torchvision does not find it, or finds it damaged.
    """

    def __init__(self, config: DataConfig) -> None:
        from torchvision import datasets

        if not config.download:
            require_directory(Path(config.root), "data.root")
        kind = getattr(datasets, config.dataset)
        try:
            self._parts = {
                part: kind(config.root, download=config.download, **arguments)
                for part, arguments in TORCHVISION[config.dataset].items()
            }
        except Exception as error:  # at foreign files it raises whatever their reading meets
            remedy = "" if config.download else "; give its folder, or --set data.download=true"
            raise DataError(
                f"data.root={config.root}: torchvision reads no {config.dataset} there "
                f"({one_line(error)}){remedy}"
            ) from None
        names = next(iter(self._parts.values())).classes
        self.names: Sequence[str] = [name if isinstance(name, str) else name[0] for name in names]

    def rows(self) -> Iterator[tuple[str, str, int]]:
        for part, images in self._parts.items():
            named = [name for name in ("targets", "labels", "_labels") if hasattr(images, name)]
            labels = getattr(images, named[0]) if named else [y for _, y in images._samples]
            for place, label in enumerate(labels):
                yield f"{part}/{place}", part, int(label)

    def read(self, paths: Sequence[str], side: int) -> Iterator[tuple[str, Pixels]]:
        for path in paths:
            part, _, place = path.partition("/")
            item = functools.partial(self._item, part, int(place))
            yield path, _square(functools.partial(convert, item, path), side)

    def _item(self, part: str, place: int) -> Image.Image:
        image: Image.Image = self._parts[part][place][0]
        return image


class _Parquet:
    """Labelled images in Parquet files as the Hugging Face hub stores them.

    Other Parquet files are left alone.

    Args:
        root: a folder of files, or one of them.

    Raises:
        DataError: there are none, or a file is none of these.
    """

    def __init__(self, root: Path) -> None:
        one = root.is_file()
        if not one:
            require_directory(root, "data.root")
        self._root = root.parent if one else root
        files = [root] if one else sorted(root.rglob("*.parquet"))
        self._files = [file for file in files if _described(file)]
        if not self._files:
            raise DataError(
                f"data.root={root}: no Parquet files in it whose schema names classes, as the "
                "Hugging Face hub stores labelled images"
            )
        with _refusing(self._files[0]):
            features = json.loads(_described(self._files[0]))["info"]["features"]
            self._image = _feature(features, "Image", "image")
            self._label = _feature(features, "ClassLabel", "label")
            self.names: Sequence[str] = list(map(str, features[self._label]["names"]))

    def rows(self) -> Iterator[tuple[str, str, int]]:
        for file in self._files:
            name = file.relative_to(self._root).as_posix()
            with _refusing(file):
                split = "split" in pq.read_schema(file).names
                table = pq.read_table(file, columns=[self._label, *["split"] * split])
                labels = table[self._label].to_pylist()
                parts = table["split"].to_pylist() if split else [name] * len(labels)
            for place, (part, label) in enumerate(zip(parts, labels, strict=True)):
                if label is not None:
                    yield f"{name}:{place}", _part(part), label

    def read(self, paths: Sequence[str], side: int) -> Iterator[tuple[str, Pixels]]:
        wanted: defaultdict[str, list[int]] = defaultdict(list)
        for path in paths:
            name, _, place = path.rpartition(":")
            wanted[name].append(int(place))
        for name, places in wanted.items():
            for row, encoded in self._encoded(self._root / name, sorted(places)):
                yield f"{name}:{row}", _square(functools.partial(decode, encoded), side)

    def _encoded(self, file: Path, places: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Yields sorted rows of a file with their images, a row group in memory at a time."""
        with _refusing(file), pq.ParquetFile(file) as opened:
            first = 0
            for group in range(opened.num_row_groups):
                end = first + opened.metadata.row_group(group).num_rows
                mine = [place - first for place in places if first <= place < end]
                if mine:
                    column = opened.read_row_group(group, columns=[self._image])[self._image]
                    images = column.take(pa.array(mine)).to_pylist()
                    for place, image in zip(mine, images, strict=True):
                        yield first + place, (image or {}).get("bytes") or b""
                first = end


@contextlib.contextmanager
def _refusing(file: Path) -> Iterator[None]:
    """Turns what foreign files meet into a DataError."""
    try:
        yield
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        pa.ArrowException,
    ) as error:
        raise DataError(
            f"{file}: not labelled images as the Hugging Face hub stores them ({one_line(error)})"
        ) from None


def _described(file: Path) -> bytes:
    """Returns what the hub writes of a file's columns; empty in a Parquet file of another kind."""
    with _refusing(file):
        described: bytes = (pq.read_schema(file).metadata or {}).get(b"huggingface", b"")
        return described


def _feature(features: Mapping[str, Any], kind: str, usual: str) -> str:
    """Returns the usual column of a kind, or else the first."""
    named = [name for name, each in features.items() if each.get("_type") == kind]
    if not named:
        raise ValueError(f"no column of type {kind}")
    return usual if usual in named else named[0]


def _part(name: str) -> str:
    """Returns the part that a split's name tells, or the path of a file: training by default."""
    for each in reversed(name.split("/")):
        for beginning, part in _PARTS.items():
            if each.startswith(beginning):
                return part
    return "train"


def _square(read: Callable[..., Image.Image], side: int) -> Pixels:
    try:
        return centred(read(smallest=math.ceil(side / 2)), side)
    except UnusableError as error:
        return str(error)


def open_images(config: DataConfig) -> LabelledImages:
    """Opens the data set of a configuration.

    Raises:
        DataError: it is not there, or is damaged.
    """
    if config.source == "torchvision":
        return _Torchvision(config)
    return _Parquet(FASHION if config.source == "fashion" else Path(config.root))
