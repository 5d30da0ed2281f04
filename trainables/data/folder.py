"""Any directory of class sub-folders of JPEG or PNG images.

Every file is decoded once, when the data set is built, until its class has as many images of a
split as asked for; what cannot be used is left out of every method alike, named with its reason, or
stops the build under `data.strict`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.config import DataConfig, to_dict
from trainables.data import dataset
from trainables.data.decoding import UnusableError, open_image
from trainables.data.labelled import build_listed
from trainables.data.layouts import IMAGE_SUFFIXES
from trainables.data.splits import class_roles, split_of
from trainables.utils.cache import build_once
from trainables.utils.hashing import code_version

# what changes neither which images there are nor their pixels
_ELSEWHERE = ("root", "strict", "split_file")


def load(config: DataConfig, cache: Path) -> dataset.Dataset:
    """Returns the images of a directory, decoded once for as long as it does not change.

    Raises:
        DataError: a missing root or class, a class without usable images, a file that the system
            does not let us read, or, under `data.strict`, any file that cannot be used.
    """
    roles = class_roles(config)
    root = Path(config.root)
    files = {name: _listing(root, name) for name in roles}
    material = {
        # the tree's content counts, not where it lies, nor whether a fault stops the build
        "config": {k: v for k, v in to_dict(config).items() if k not in _ELSEWHERE},
        # pairs, for the order of the classes is that of the labels
        "roles": list(roles.items()),
        "files": {
            name: [[path, *_stamp(root / path)] for path in listed]
            for name, listed in files.items()
        },
        "code": code_version("trainables.data", "trainables.utils.rng"),
    }
    folder = build_once(cache, "data", material, lambda path: _build(config, roles, files, path))
    read = dataset.read_dataset(folder)
    dataset.warn_of_refused(read, config, folder)
    return read


def _listing(root: Path, name: str) -> list[str]:
    """Lists the image files of a class, relative to the root with `/`, sorted."""
    return sorted(
        path.relative_to(root).as_posix()
        for path in (root / name).rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _build(
    config: DataConfig, roles: dict[str, str], files: dict[str, list[str]], folder: Path
) -> None:
    def read(paths: Sequence[str]) -> Iterator[tuple[str, NDArray[np.uint8] | str]]:
        for path in paths:
            try:
                yield path, _open_inside(Path(config.root), path, config.image_size)
            except UnusableError as error:
                yield path, str(error)

    listed = {name: _ordered(paths, config) for name, paths in files.items()}
    build_listed(folder, config, roles, listed, read)


def _ordered(paths: list[str], config: DataConfig) -> list[tuple[str, str, str]]:
    """Returns (order, split, path): a cap takes the first by hash, whatever else is there."""
    return [
        (order, split, path) for path in paths for split, order in [split_of(path, config.seed)]
    ]


def _open_inside(root: Path, path: str, image_size: int) -> NDArray[np.uint8]:
    if not (root / path).resolve().is_relative_to(root.resolve()):
        raise UnusableError("a link that leads out of the data root")
    return open_image(root / path, image_size)
