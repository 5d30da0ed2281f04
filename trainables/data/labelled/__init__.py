"""Images with a number for a class: data sets of torchvision, and labelled images in Parquet files.

`fashion`, which comes with the product, is such a Parquet file. Each part of a data set (training,
validation, test) keeps its purpose; what it has not is cut from its training images by a seeded
hash. Images are decoded once, when the data set is built.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.config import DataConfig, to_dict
from trainables.data import dataset
from trainables.data.decoding import pillow_warnings
from trainables.data.labelled.readers import FASHION, Pixels, open_images
from trainables.data.splits import SPLITS, class_roles, split_of
from trainables.utils.cache import build_once
from trainables.utils.hashing import code_version

# what changes neither which images there are nor their pixels
_ELSEWHERE = ("root", "strict", "split_file", "download")
_REMEDY = "; add images, take another data.seed, or leave the class out"
# what tells a data set from another
_PLACE = ("source", "root", "dataset", "download")
# a class's images: (place in the order in which they are taken, split, path)
Listing = Sequence[tuple[str, str, str]]
# gives each of some paths with its pixels `(H, W, 3)`, or with why it cannot be used
ReadImages = Callable[[Sequence[str]], Iterable[tuple[str, Pixels]]]


def build_listed(
    folder: Path,
    config: DataConfig,
    roles: Mapping[str, str],
    listed: Mapping[str, Listing],
    read: ReadImages,
) -> None:
    """Writes the first usable images of each class and split, as many as asked for.

    Images beyond those are not read.

    Args:
        folder: of the data set.
        config: caps the images of a class.
        roles: of the classes, in the order of their labels.
        listed: the images of each class.
        read: decodes some of them, in any order.

    Raises:
        DataError: a class has no usable image in one of its splits.
    """
    listed = {name: sorted(each) for name, each in listed.items()}
    pixels: dict[str, NDArray[np.uint8]] = {}
    refused: dict[str, str] = {}
    counts = {(name, split): 0 for name in roles for split in SPLITS}
    waiting = {
        (name, split): [path for _, each, path in listed[name] if each == split]
        for name, split in counts
    }
    while True:
        asked: dict[str, tuple[str, str]] = {}
        for (name, split), paths in waiting.items():
            most = config.most(roles[name], split) - counts[name, split]
            asked |= dict.fromkeys(paths[:most], (name, split))
            del paths[:most]
        if not asked:
            break
        for path, found in read(list(asked)):
            if isinstance(found, str):
                refused[path] = found
            else:
                pixels[path] = found
                counts[asked[path]] += 1
    rows = []
    for name, role in roles.items():
        left_out = [
            dataset.Refused(path, refused[path]) for *_, path in listed[name] if path in refused
        ]
        # proxy images are trained on and never measured
        needed = {s: counts[name, s] for s in (SPLITS[:1] if role == "proxy" else SPLITS)}
        dataset.require_images(name, config.root, needed, len(listed[name]), left_out, _REMEDY)
        rows += [
            dataset.manifest_row(path, name, role, split, dataset.hash_pixels(pixels[path]))
            for _, split, path in listed[name]
            if path in pixels
        ]
    told = [dataset.Refused(path, refused[path]) for path in sorted(refused)]
    dataset.save_dataset(folder, rows, np.stack([pixels[row["path"]] for row in rows]), roles, told)


def class_names(config: DataConfig) -> Mapping[str, str]:
    """Returns the name that each class has in the data set itself, by its name here.

    Raises:
        DataError: the data set is not there, or is damaged.
    """
    return _class_names(DataConfig(**{name: getattr(config, name) for name in _PLACE}))


@functools.cache
def _class_names(config: DataConfig) -> Mapping[str, str]:
    names = open_images(config).names
    return dict(zip(_slugs(names), names, strict=True))


def _slugs(names: Sequence[str]) -> list[str]:
    """Returns short names that a command line takes, such as `t-shirt` for `T-shirt/top`."""
    whole = [re.sub(r"[^\w]+", "-", name.lower()).strip("-") for name in names]
    short = [re.sub(r"[^\w]+", "-", name.lower().partition("/")[0]).strip("-") for name in names]
    shorts, wholes = Counter(short), Counter(whole)
    return [
        s if s and shorts[s] == 1 else w if w and wholes[w] == 1 else f"{w}-{label}"
        for label, (s, w) in enumerate(zip(short, whole, strict=True))
    ]


def load(config: DataConfig, cache: Path) -> dataset.Dataset:
    """Returns the images of a data set, decoded once for as long as its files do not change.

    Raises:
        DataError: a data set that is missing or damaged, an unknown class, a class without usable
            images, or, under `data.strict`, any image that cannot be used.
    """
    roles = class_roles(config)
    material = {
        # the content of the files counts, not where they lie, nor whether a fault stops the build
        "config": {k: v for k, v in to_dict(config).items() if k not in _ELSEWHERE},
        # pairs, for the order of the classes is that of the labels
        "roles": list(roles.items()),
        "files": _stamps(FASHION if config.source == "fashion" else Path(config.root), cache),
        "code": code_version("trainables.data", "trainables.utils.rng"),
    }
    folder = build_once(cache, "data", material, lambda path: _build(config, roles, path))
    read = dataset.read_dataset(folder)
    dataset.warn_of_refused(read, config, folder)
    return read


def _stamps(root: Path, cache: Path) -> list[tuple[str, int, int]]:
    """Returns name, size and time of each file, those of a storage inside the root apart."""
    places = (cache.resolve(), cache.resolve().parent)
    storage = {each for each in places if root.resolve() in each.parents}
    files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
    ours = [path for path in files if storage.isdisjoint(path.resolve().parents)]
    stats = [(path.relative_to(root).as_posix(), path.stat()) for path in ours]
    return [(name, status.st_size, status.st_mtime_ns) for name, status in stats]


def _build(config: DataConfig, roles: Mapping[str, str], folder: Path) -> None:
    images = open_images(config)
    slugs = _slugs(images.names)
    rows = [row for row in images.rows() if 0 <= row[2] < len(slugs)]
    parts = {part for _, part, _ in rows}
    listed: dict[str, list[tuple[str, str, str]]] = {name: [] for name in roles}
    for path, part, label in rows:
        if slugs[label] in listed:
            hashed, order = split_of(path, config.seed)
            listed[slugs[label]].append((order, _split(part, hashed, parts), path))
    with pillow_warnings():
        build_listed(
            folder, config, roles, listed, lambda paths: images.read(paths, config.image_size)
        )


def _split(part: str, hashed: str, parts: Collection[str]) -> str:
    """Returns the split of an image of a part; what the data set has not, training images give.

    Args:
        part: of the data set.
        hashed: the split that a hash of the path gives.
        parts: of the data set.
    """
    if "test" not in parts and "val" in parts:
        part, parts = {"val": "test"}.get(part, part), {"train", "test"}
    if part != "train":
        return part
    return hashed if hashed not in parts else "train"
