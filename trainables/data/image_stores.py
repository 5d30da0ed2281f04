"""Images that are decoded when they are read, from their own files or from Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from trainables.data.decoding import UnusableError, centred, decode, pillow_warnings, random_crop
from trainables.utils.errors import DataError
from trainables.utils.rng import mix_seed
from trainables.utils.text import one_line

# a read takes a whole row group, and each costs a few hundred bytes of a shard's footer
_GROUP, _SHARD = 4, 4096
_SCHEMA = pa.schema([("path", pa.string()), ("jpeg", pa.binary())])


@dataclass(frozen=True)
class FileStore:
    """Finds images in files of their own."""

    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def encoded(self, row: int) -> Path:
        """Returns the file of a manifest row."""
        return self.paths[row]

    def name(self, row: int) -> str:
        """Returns the path of a manifest row's file."""
        return str(self.paths[row])


class ParquetStore:
    """Reads JPEGs from the Parquet files that `ParquetWriter` wrote, a few at a time.

    Args:
        folder: of the store.
        rows: how many images it holds.
    """

    def __init__(self, folder: Path, rows: int) -> None:
        self._folder = folder
        self._rows = rows
        self._open: dict[int, pq.ParquetFile] = {}

    def __getstate__(self) -> dict[str, Any]:
        # an open file is the process's own
        return self.__dict__ | {"_open": {}}

    def __len__(self) -> int:
        return self._rows

    def encoded(self, row: int) -> bytes:
        """Returns the JPEG of a manifest row."""
        return bytes(self._column(row, "jpeg"))

    def name(self, row: int) -> str:
        """Returns the store, and the path of the file that the JPEG was made of."""
        return f"{self._folder}: {self._column(row, 'path')}"

    def _column(self, row: int, name: str) -> Any:
        shard, inside = divmod(row, _SHARD)
        path = _shard(self._folder, shard)
        try:
            if shard not in self._open:
                self._open[shard] = pq.ParquetFile(path)
            group, place = divmod(inside, _GROUP)
            # no threads of pyarrow's: a loader's process is forked
            table = self._open[shard].read_row_group(group, columns=[name], use_threads=False)
            return table.column(name)[place].as_py()
        except (OSError, pa.ArrowException, IndexError) as error:
            raise DataError(
                f"{path}: {one_line(error)}; remove {self._folder}, and it is made anew"
            ) from None


class ParquetWriter:
    """Writes JPEGs in manifest order, holding a row group of them at most.

    Args:
        folder: of the store; it exists.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[dict[str, Any]] = []
        self._written = 0

    def __enter__(self) -> ParquetWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def add(self, path: str, jpeg: bytes) -> None:
        """Adds the next image.

        Args:
            path: of the file that it was made of.
            jpeg: its content.
        """
        self._waiting.append({"path": path, "jpeg": jpeg})
        if len(self._waiting) == _GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._written % _SHARD == 0:
            if self._writer is not None:
                self._writer.close()
            path = _shard(self._folder, self._written // _SHARD)
            # JPEGs do not compress, and nobody searches them
            self._writer = pq.ParquetWriter(
                path, _SCHEMA, compression="none", use_dictionary=False, write_statistics=False
            )
        assert self._writer is not None
        self._writer.write_table(
            pa.Table.from_pylist(self._waiting, schema=_SCHEMA), row_group_size=_GROUP
        )
        self._written += len(self._waiting)
        self._waiting.clear()


def _shard(folder: Path, number: int) -> Path:
    return folder / f"images-{number:05}.parquet"


@dataclass(frozen=True)
class StoredImages:
    """Square images by manifest rows, decoded from a store when they are asked for.

    Attributes:
        store: holds them encoded.
        image_size: side in pixels.
        seed: keys the augmented views; None where nothing is augmented.
        views: distinct views of an image, in turn; 0 is any number.
    """

    store: FileStore | ParquetStore
    image_size: int
    seed: int | None = None
    views: int = 0

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Returns the middles of some images, `(B, H, W, 3)`.

        Raises:
            DataError: a file has become unusable since the data set was built.
        """
        side = self.image_size
        with pillow_warnings():
            middles = [centred(self._image(int(row)), side) for row in rows]
        return np.stack(middles) if middles else np.empty((0, side, side, 3), np.uint8)

    def augmented(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Returns views `(B, H, W, 3)` of some images; the middles where nothing is augmented.

        A view is a function of seed, row and its number, whichever process draws it.

        Raises:
            DataError: a file has become unusable since the data set was built.
        """
        if self.seed is None:
            return self[rows]
        drawn = []
        with pillow_warnings():
            for row, view in zip(rows.tolist(), views.tolist(), strict=True):
                number = view % self.views if self.views else view
                chance = np.random.default_rng(mix_seed(self.seed, "view", row, number))
                drawn.append(random_crop(self._image(row), self.image_size, chance))
        return np.stack(drawn)

    def _image(self, row: int) -> Image.Image:
        try:
            return decode(self.store.encoded(row))
        except UnusableError as error:
            raise DataError(
                f"{self.store.name(row)}: {error}; it was usable when the data set was built: "
                "mend it, or let `python -m trainables.data check` draw another in its place"
            ) from None
