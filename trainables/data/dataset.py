"""A data set as every source leaves it: a manifest and pixels, shared by all trials."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainables.config import DataConfig
from trainables.data.splits import ROLES, SPLITS
from trainables.utils.errors import DataError
from trainables.utils.files import write_json

if TYPE_CHECKING:
    from torch import Tensor

    from trainables.data.image_stores import StoredImages

SCHEMA = pa.schema([(name, pa.string()) for name in ("path", "class", "role", "split")]).append(
    pa.field("content_hash", pa.string())
)
_NAMED = 5  # unusable files in a message
_AT_ONCE = 1024  # images
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refused:
    """A file that no trial uses, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Dataset:
    """Images with a manifest row each: memory-mapped pixels, or files decoded when they are read.

    Attributes:
        manifest: path, class, role, split, content_hash (of the image's pixels).
        pixels: `(N, H, W, 3)` bytes, aligned with the manifest; an array of rows indexes them.
        fingerprint: hash of the manifest's content, and of what augmentation makes of it: equal
            data, equal fingerprint.
        classes: names in the order of the labels.
        refused: files left out, for every method alike.
        grey: mean of the training images, in [0, 1], where the channels of every image are equal;
            None where there is colour, and where files are decoded as they are read.
    """

    manifest: pa.Table
    pixels: NDArray[np.uint8] | StoredImages
    fingerprint: str
    classes: tuple[str, ...]
    refused: tuple[Refused, ...] = ()
    grey: float | None = None

    def rows(self, role: str, split: str) -> NDArray[np.int64]:
        """Returns the manifest rows of a role (`all` for every role) and a split, sorted."""
        chosen = self._columns["split"] == split
        if role != "all":
            chosen &= self._columns["role"] == role
        return np.nonzero(chosen)[0]

    def images(self, rows: NDArray[np.int64]) -> Tensor:
        """Returns images `(B, 3, H, W)` float32 in [0, 1].

        Raises:
            DataError: a file has become unusable since the data set was built.
        """
        return as_images(self.read(rows))

    def read(self, rows: NDArray[np.int64], views: NDArray[np.int64] | None = None) -> Tensor:
        """Returns images as bytes `(B, H, W, 3)`, as they cross from a loader's process.

        Args:
            rows: of the manifest, `(B,)`.
            views: which augmented view of each row, `(B,)`; the plain images where it is None or
                the data are not augmented.

        Raises:
            DataError: a file has become unusable since the data set was built.
        """
        import torch

        if views is None or isinstance(self.pixels, np.ndarray):
            return torch.from_numpy(np.ascontiguousarray(self.pixels[rows]))
        return torch.from_numpy(self.pixels.augmented(rows, views))

    def expand(self, compact: Tensor) -> Tensor:
        """Turns what `read` gave into images `(B, 3, H, W)` float32 in [0, 1]."""
        return as_images(compact)

    def labels(self, rows: NDArray[np.int64]) -> Tensor:
        """Returns the class of each row, `(B,)` int64, an index into `classes`."""
        import torch

        return torch.from_numpy(self._labels[rows])

    def counts(self) -> dict[tuple[str, str], int]:
        """Returns the number of images by (role, split)."""
        return {(role, split): len(self.rows(role, split)) for role in ROLES for split in SPLITS}

    @functools.cached_property
    def _columns(self) -> dict[str, NDArray[np.object_]]:
        return {
            name: np.asarray(self.manifest.column(name).to_pylist(), dtype=object)
            for name in ("class", "role", "split")
        }

    @functools.cached_property
    def _labels(self) -> NDArray[np.int64]:
        place = {name: i for i, name in enumerate(self.classes)}
        return np.array([place[name] for name in self._columns["class"]], dtype=np.int64)


def as_images(pixels: Tensor) -> Tensor:
    """Turns bytes `(B, H, W, 3)` into images `(B, 3, H, W)` float32 in [0, 1]."""
    return pixels.permute(0, 3, 1, 2).float() / 255.0


def fingerprint(manifest: pa.Table) -> str:
    """Returns twelve hexadecimal digits of a manifest's rows, in their order."""
    digest = hashlib.sha256()
    for row in manifest.to_pylist():
        digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()[:12]


def hash_pixels(pixels: NDArray[np.uint8]) -> str:
    """Returns sixteen hexadecimal digits of an image's shape and bytes."""
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()[:16]


def manifest_row(path: str, name: str, role: str, split: str, content_hash: str) -> dict[str, str]:
    """Returns an image's row of the manifest.

    Args:
        path: relative to the data root, with `/`.
        name: of the class.
        role: of the class.
        split: of the image.
        content_hash: of its pixels, from `hash_pixels`.
    """
    values = (path, name, role, split, content_hash)
    return dict(zip(SCHEMA.names, values, strict=True))


def require_images(
    name: str,
    root: str | Path,
    counts: Mapping[str, int],
    listed: int,
    refused: Sequence[Refused],
    remedy: str = "",
) -> None:
    """Refuses a class that has no usable image in one of its splits.

    Args:
        name: of the class.
        root: of the data.
        counts: usable images by split.
        listed: files of the class.
        refused: those among them that cannot be used.
        remedy: ends the message.

    Raises:
        DataError: a split has none.
    """
    empty = [split for split, count in counts.items() if not count]
    if empty:
        unusable = f" ({len(refused)} unusable: {name_refused(refused)})" if refused else ""
        raise DataError(
            f"class {name!r} of {root} has no usable {' or '.join(empty)} image among its "
            f"{listed} files{remedy}{unusable}"
        )


def warn_of_refused(dataset: Dataset, config: DataConfig, folder: Path) -> None:
    """Warns of files that are left out.

    Raises:
        DataError: there are some, and `data.strict` is set.
    """
    if not dataset.refused:
        return
    line = (
        f"{len(dataset.refused)} unusable images under {config.root}: "
        f"{name_refused(dataset.refused)}"
    )
    if len(dataset.refused) > _NAMED:
        line += f"; all in {folder / 'dataset.json'}"
    if config.strict:
        raise DataError(f"{line}; mend or remove them, or leave out data.strict")
    _log.warning("%s; left out of every method", line)


def name_refused(refused: Sequence[Refused]) -> str:
    """Returns the first few files that are left out, with their reasons."""
    return "; ".join(f"{each.path}: {each.reason}" for each in refused[:_NAMED])


def save_dataset(
    folder: Path,
    rows: Sequence[dict[str, Any]],
    pixels: NDArray[np.uint8] | None,
    classes: Iterable[str],
    refused: Iterable[Refused] = (),
) -> None:
    """Writes `manifest.parquet`, `dataset.json` and, if given, `pixels.npy`."""
    pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), folder / "manifest.parquet")
    if pixels is not None:
        np.save(folder / "pixels.npy", pixels)
    listed = [[each.path, each.reason] for each in refused]
    grey = None if pixels is None else _grey([row["split"] == "train" for row in rows], pixels)
    described = {"classes": list(classes), "refused": listed, "grey": grey}
    write_json(folder / "dataset.json", described)


def _grey(training: Sequence[bool], pixels: NDArray[np.uint8]) -> float | None:
    """Returns the mean of the training images, in [0, 1], if no image has any colour."""
    for start in range(0, len(pixels), _AT_ONCE):
        part = pixels[start : start + _AT_ONCE]
        if not (part == part[..., :1]).all():
            return None
    return float(pixels[np.array(training), ..., 0].mean()) / 255.0


def read_dataset(folder: Path, pixels: StoredImages | None = None) -> Dataset:
    """Returns a data set that `save_dataset` wrote.

    Args:
        folder: of the files.
        pixels: reads the images; by default `pixels.npy` is memory-mapped.
    """
    manifest = pq.read_table(folder / "manifest.parquet")
    described = json.loads((folder / "dataset.json").read_text())
    return Dataset(
        manifest,
        np.load(folder / "pixels.npy", mmap_mode="r", allow_pickle=False)
        if pixels is None
        else pixels,
        fingerprint(manifest),
        tuple(described["classes"]),
        tuple(Refused(path, reason) for path, reason in described["refused"]),
        described["grey"],
    )
