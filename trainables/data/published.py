"""ImageNet-1k and Places-365, with COCO as proxy: drawn by seed, decoded as they are read.

Training images come from the training folders, test images from the validation folders. The
validation images, on which everything is chosen, are training images that are not trained on.
Every chosen file is decoded once when the data set is built, so that an unusable one is left out of
every method alike and the next one takes its place.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainables.config import COCO, DataConfig, to_dict
from trainables.data import dataset
from trainables.data.decoding import UnusableError, centred, decode, encode, pillow_warnings
from trainables.data.image_stores import FileStore, ParquetStore, ParquetWriter, StoredImages
from trainables.data.layouts import coco_images, open_tree
from trainables.data.splits import published_roles
from trainables.utils.cache import build_once
from trainables.utils.errors import DataError
from trainables.utils.hashing import code_version, content_key

ReportImages = Callable[[int, int], None]

# what changes neither which images there are nor their pixels
_ELSEWHERE = ("root", "proxy_root", "split_file", "strict", "augment", "views")
_MOST_VAL = 0.15  # of a class's training images
_SMALLEST = 8  # pixels; ImageNet has thumbnails, and the paper's sets leave nothing out
_AHEAD = 256  # images decoded at once, at most


@dataclass(frozen=True)
class Draw:
    """What is taken of one class: for each split in turn, the first usable ones in a seeded order.

    Attributes:
        name, role: of the class.
        root: of the paths.
        paths: of its images, relative, in the order in which they are taken.
        wanted: most images of each split, in the order in which splits take theirs.
    """

    name: str
    role: str
    root: Path
    paths: tuple[str, ...]
    wanted: tuple[tuple[str, int], ...]

    def first(self) -> tuple[str, ...]:
        """Returns the paths that are taken if all are usable."""
        return self.paths[: sum(count for _, count in self.wanted)]


def load(config: DataConfig, cache: Path, report: ReportImages | None = None) -> dataset.Dataset:
    """Returns the images of a published data set that a configuration asks for.

    Args:
        config: its source is `imagenet` or `places365`.
        cache: where the manifest and a Parquet store are kept, by content.
        report: called as (images looked at, images to look at) while the data set is built.

    Raises:
        DataError: a directory, class or label file that is missing, a class without usable images,
            or, under `data.strict`, any image that cannot be used.
    """
    return load_draws(draws(config), config, cache, report)[0]


def draws(config: DataConfig) -> list[Draw]:
    """Returns what is taken of each class, in the order of the labels."""
    tree = open_tree(config.source, Path(config.root))
    roles = published_roles(config, tree)
    taken = []
    for name, role in roles.items():
        if name == COCO and config.proxy_source == "coco":
            taken.append(coco_draw(config, [*roles.values()].count("forget")))
            continue
        train = _ordered(config, name, tree.training_images(name))
        if role == "proxy":
            # proxy images are trained on and never measured
            proxies = (("train", config.most(role, "train")),)
            taken.append(Draw(name, role, tree.root, train, proxies))
            continue
        val = min(config.most(role, "val"), max(round(_MOST_VAL * len(train)), 1))
        wanted = (("val", val), ("train", config.most(role, "train")))
        test = _ordered(config, name, tree.test_images(name))
        taken.append(Draw(name, role, tree.root, train, wanted))
        taken.append(Draw(name, role, tree.root, test, (("test", config.most(role, "test")),)))
    return taken


def coco_draw(config: DataConfig, forget_classes: int) -> Draw:
    """Returns what is taken of COCO: as many as asked for, or as the forget classes may have."""
    root = Path(config.proxy_root)
    count = config.proxy_per_class or config.most("forget", "train") * forget_classes
    paths = _ordered(config, COCO, coco_images(root))
    return Draw(COCO, "proxy", root, paths, (("train", count),))


def _ordered(config: DataConfig, name: str, paths: list[str]) -> tuple[str, ...]:
    """Sorts by a hash of the seed and each path: a file that is added or lost moves no other."""

    def place(path: str) -> bytes:
        return hashlib.sha256(f"{config.seed}:{name}:{path}".encode()).digest()

    return tuple(sorted(paths, key=place))


def load_draws(
    taken: list[Draw], config: DataConfig, cache: Path, report: ReportImages | None = None
) -> tuple[dataset.Dataset, Path]:
    """Returns the data set of some draws and the folder of its manifest; see `load`."""
    material = {
        "config": {k: v for k, v in to_dict(config).items() if k not in _ELSEWHERE},
        "draws": [[each.name, each.role, each.wanted, *_stamps(each)] for each in taken],
        "code": code_version("trainables.data", "trainables.utils.rng"),
    }
    folder = build_once(cache, "data", material, lambda path: _build(taken, config, path, report))
    read = dataset.read_dataset(folder, StoredImages(FileStore(()), config.image_size))
    dataset.warn_of_refused(read, config, folder)
    names = zip(read.manifest["class"].to_pylist(), read.manifest["path"].to_pylist(), strict=True)
    roots = {each.name: each.root for each in taken}
    parquet = config.store == "parquet"
    images = StoredImages(
        ParquetStore(folder, len(read.manifest))
        if parquet
        else FileStore([roots[name] / path for name, path in names]),
        config.image_size,
        config.seed if config.augment else None,
        config.views,
    )
    views = content_key([read.fingerprint, config.seed, config.views])
    mark = views if config.augment else read.fingerprint
    return replace(read, pixels=images, fingerprint=mark), folder


def _stamps(draw: Draw) -> tuple[str, str]:
    """Hashes all names of a draw, and size and time of the files that it comes to first."""
    with ThreadPoolExecutor(_threads()) as pool:
        found = list(pool.map(lambda path: _stamp(draw.root / path), draw.first()))
    return _digest(draw.paths), _digest(found)


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; make it readable or remove it") from None
    return f"{status.st_size} {status.st_mtime_ns}"


def _digest(lines: list[str] | tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _threads() -> int:
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4, 32)


def _build(
    taken: list[Draw], config: DataConfig, folder: Path, report: ReportImages | None
) -> None:
    rows: list[dict[str, Any]] = []
    refused: list[dataset.Refused] = []
    total = sum(len(each.first()) for each in taken)
    with ExitStack() as stack:
        # Pillow decodes and resizes outside of Python's lock
        pool = stack.enter_context(ThreadPoolExecutor(_threads()))
        stack.enter_context(pillow_warnings())
        parquet = config.store == "parquet"
        writer = stack.enter_context(ParquetWriter(folder)) if parquet else None
        for draw in taken:
            counted = {split: 0 for split, _ in draw.wanted}
            looked = _looked_at(draw, config, pool)
            before = len(refused)
            for split, most in draw.wanted:
                while counted[split] < most and (found := next(looked, None)) is not None:
                    if found.reason:
                        refused.append(dataset.Refused(found.path, found.reason))
                        continue
                    counted[split] += 1
                    told = (draw.name, draw.role, split, found.content_hash)
                    rows.append(dataset.manifest_row(found.path, *told))
                    if writer is not None:
                        writer.add(found.path, found.jpeg)
                    if report is not None:
                        report(len(rows), total)
            dataset.require_images(draw.name, draw.root, counted, len(draw.paths), refused[before:])
    classes = dict.fromkeys(each.name for each in taken)
    refused.sort(key=lambda each: each.path)
    dataset.save_dataset(folder, rows, None, classes, refused)


@dataclass(frozen=True)
class _Looked:
    """What is kept of an image: its path, and why it is unusable, or a hash of its pixels.

    For a store it has the JPEG too.
    """

    path: str
    reason: str = ""
    content_hash: str = ""
    jpeg: bytes = b""


def _looked_at(draw: Draw, config: DataConfig, pool: ThreadPoolExecutor) -> Iterator[_Looked]:
    """Yields what is kept of a draw's images, in order, some read ahead."""
    # no further than needed: the files behind a cap are not opened
    first = len(draw.first())
    places = [*range(0, first, _AHEAD), *range(first, len(draw.paths) + 1)]
    for start, end in itertools.pairwise(places):
        yield from pool.map(lambda path: _look(draw.root, path, config), draw.paths[start:end])


def _look(root: Path, path: str, config: DataConfig) -> _Looked:
    try:
        image = decode(root / path, smallest=_SMALLEST)
        jpeg = b""
        if config.store == "parquet":
            jpeg = encode(image, config.store_side or config.image_size)
            image = decode(jpeg)
        found = dataset.hash_pixels(centred(image, config.image_size))
    except UnusableError as error:
        return _Looked(path, reason=str(error))
    return _Looked(path, content_hash=found, jpeg=jpeg)
