"""Finds the images of the published data sets on a disk, or says what is missing.

Needs no torch, and opens no image: it lists directories, and reads the two label files of
Places-365.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainables.config import SourceName
from trainables.utils.errors import DataError
from trainables.utils.text import first_few

# the image formats that are read, by Pillow's names, and the suffixes by which files are found
FORMATS = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",)}
IMAGE_SUFFIXES = tuple(suffix for each in FORMATS.values() for suffix in each)
WHERE: dict[str, str] = {
    "imagenet": "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar of "
    "https://image-net.org/download-images, which torchvision.datasets.ImageNet unpacks and sorts",
    "places365": "train_256_places365standard.tar, val_256.tar and filelist_places365-standard.tar "
    "of http://places2.csail.mit.edu/download.html",
    "coco": "http://images.cocodataset.org/zips/train2017.zip",
}
EXPECTED: dict[str, str] = {
    "imagenet": "train/<wnid>/*.JPEG and val/<wnid>/*.JPEG",
    "places365": "train_256/<letter>/<class>/*.jpg, and val_256/ likewise or flat with "
    "places365_val.txt and categories_places365.txt",
    "coco": "train2017/*.jpg or images/train2017/*.jpg",
}
_WNID = re.compile(r"n\d{8}")
_PLACES_TRAIN = ("train_256", "data_256", "data_256_standard", "train_large", "data_large", "train")
_PLACES_VAL = ("val_256", "val_large", "val")
_LISTS = (".", "filelist_places365-standard", "places365_standard")
_COCO = ("train2017", "images/train2017")
_NESTS = ("ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")  # of ImageNet as Kaggle packs it
_NAMED = 5


@dataclass(frozen=True)
class Tree:
    """A published data set as it lies on a disk.

    Attributes:
        root: its directory.
        train, test: the folder of each class's training and of its validation images, by class.
        labelled: names of each class's images in a flat validation folder; None where classes
            have folders there.
    """

    root: Path
    train: Mapping[str, Path]
    test: Mapping[str, Path]
    labelled: Mapping[str, tuple[str, ...]] | None = None

    def training_images(self, name: str) -> list[str]:
        """Lists a class's training images relative to the root, with `/`, sorted."""
        return _relative(self.root, self.train[name], image_names(self.train[name]))

    def test_images(self, name: str) -> list[str]:
        """Lists a class's validation images relative to the root, with `/`, sorted."""
        folder = self.test[name]
        names = image_names(folder) if self.labelled is None else self.labelled[name]
        return _relative(self.root, folder, names)


def open_tree(source: SourceName, root: Path) -> Tree:
    """Finds the class folders of a published data set.

    Raises:
        DataError: no such directory, or one of another layout.
    """
    readers: dict[str, Callable[[Path], Tree]] = {"imagenet": _imagenet, "places365": _places365}
    require_directory(root, "data.root")
    return readers[source](root)


@functools.cache
def paper_split(source: SourceName) -> Mapping[str, str]:
    """Returns the role of each class in the paper: 100 + 100 of ImageNet's, all of Places'."""
    text = Path(__file__).with_name(f"{source}_split.json").read_text()
    return {name: role for role, names in json.loads(text).items() for name in names}


def missing_classes(source: SourceName, tree: Tree, roles: Mapping[str, str]) -> list[str]:
    """Returns a line for each role and split that has classes without a folder."""
    lines = []
    for role in dict.fromkeys(roles.values()):
        names = [name for name, each in roles.items() if each == role]
        for split, folders in (("training", tree.train), ("validation", tree.test)):
            absent = [name for name in names if name not in folders]
            if not absent or (role == "proxy" and split == "validation"):
                continue
            what = "no folder" if tree.labelled is None or split == "training" else "no label"
            lines.append(
                f"data.root={tree.root}: {what} of {len(absent)} of the {len(names)} {role} "
                f"classes among the {split} images: {first_few(absent, _NAMED)}; "
                f"unpack {WHERE[source]}"
            )
    return lines


def require_directory(path: Path, field: str) -> None:
    """Raises a DataError where there is no such directory."""
    if not path.is_dir():
        raise DataError(f"{field}={path}: no such directory")


def image_names(folder: Path) -> list[str]:
    """Lists the names of the image files right in a folder, sorted."""
    with os.scandir(folder) as entries:
        return sorted(each.name for each in entries if each.name.lower().endswith(IMAGE_SUFFIXES))


def coco_images(root: Path) -> list[str]:
    """Lists COCO's training images relative to the root, with `/`, sorted.

    Raises:
        DataError: no such directory, or one without them.
    """
    require_directory(root, "data.proxy_root")
    for place in _COCO:
        if (root / place).is_dir():
            names = image_names(root / place)
            if names:
                return [f"{place}/{name}" for name in names]
    hint = f"; give {root.parent}" if root.name == "train2017" else ""
    raise DataError(f"data.proxy_root={root}: {_not_there('coco', 'COCO 2017')}{hint}")


def guess_source(root: Path) -> str | None:
    """Returns the source whose layout a directory has: its name, `coco`, or None."""
    if any((root / place).is_dir() for place in _COCO):
        return "coco"
    if _wnids(root / "train") or _wnids(root / "val"):
        return "imagenet"
    if any((root / place).is_dir() for place in (*_PLACES_TRAIN[:-1], *_PLACES_VAL[:-1])):
        return "places365"
    if _find_list(root, root, "categories_places365.txt") or _place_folders(root / "train"):
        return "places365"
    folders = [each for each in root.iterdir() if each.is_dir()] if root.is_dir() else []
    if any(image_names(each) for each in folders):
        return "folder"
    return "parquet" if next(root.rglob("*.parquet"), None) else None


def _relative(root: Path, folder: Path, names: Iterable[str]) -> list[str]:
    place = folder.relative_to(root).as_posix()
    return [f"{place}/{name}" for name in names]


def _not_there(source: str, name: str) -> str:
    return f"not {name}, which has {EXPECTED[source]}; get {WHERE[source]}"


def _imagenet(root: Path) -> Tree:
    train, test = _wnids(root / "train"), _wnids(root / "val")
    if not train:
        hints = [each for each in (*_NESTS, *_below(root)) if _wnids(root / each / "train")]
        hint = f"; give {root / hints[0]}" if hints else ""
        if _wnids(root):
            hint = f"; it is one split's folder of classes: give {root.parent}"
        raise DataError(f"data.root={root}: {_not_there('imagenet', 'ImageNet')}{hint}")
    if not test:
        flat = (root / "val").is_dir() and image_names(root / "val")
        what = "val/ is flat: sort its images into val/<wnid>/" if flat else "no val/<wnid>/"
        raise DataError(f"data.root={root}: {what}; get {WHERE['imagenet']}")
    return Tree(root, train, test)


def _below(root: Path) -> list[str]:
    return sorted(each.name for each in root.iterdir() if each.is_dir())


def _wnids(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        names = sorted(each.name for each in entries if _WNID.fullmatch(each.name))
    return {name: folder / name for name in names if (folder / name).is_dir()}


def _places365(root: Path) -> Tree:
    trains = ((name, _place_folders(root / name)) for name in _PLACES_TRAIN)
    train = next((found for _, found in trains if found), None)
    if train is None:
        nested = [each for each in _below(root) if (root / each / _PLACES_TRAIN[0]).is_dir()]
        hint = f"; give {root / nested[0]}" if nested else ""
        if _place_folders(root):
            hint = f"; it is one split's folder of classes: give {root.parent}"
        raise DataError(f"data.root={root}: {_not_there('places365', 'Places-365')}{hint}")
    for name in _PLACES_VAL:
        folder = root / name
        found = _place_folders(folder)
        if found:
            return Tree(root, train, found)
        if folder.is_dir() and image_names(folder):
            labelled = _labelled(root, folder)
            return Tree(root, train, dict.fromkeys(labelled, folder), labelled)
    raise DataError(f"data.root={root}: no val_256/; get {WHERE['places365']}")


def _place_folders(folder: Path) -> dict[str, Path]:
    """Finds class folders as any archive nests them: `d/desert/sand`, `desert-sand`."""
    if not folder.is_dir():
        return {}
    found = {}
    for name in paper_split("places365"):
        flat = name.replace("/", "-")
        for place in (f"{name[0]}/{name}", name, flat, f"{name[0]}/{flat}", name.replace("/", "_")):
            if (folder / place).is_dir():
                found[name] = folder / place
                break
    return found


def place_name(text: str) -> str:
    """Returns the name of a Places class: `desert/sand` for `/d/desert/sand`."""
    return re.sub(r"^/[a-z]/", "", text)


def _labelled(root: Path, folder: Path) -> dict[str, tuple[str, ...]]:
    """Returns the file names of each class, as far as the flat folder holds them."""
    categories, labels = (
        _read_list(root, folder, name) for name in ("categories_places365.txt", "places365_val.txt")
    )
    names = {number: place_name(text) for text, number in categories}
    there = set(image_names(folder))
    found: dict[str, list[str]] = {name: [] for name in names.values()}
    for file, number in labels:
        if number not in names:
            raise DataError(f"places365_val.txt: {file} has label {number}, which is no category")
        if file in there:
            found[names[number]].append(file)
    return {name: tuple(sorted(files)) for name, files in found.items() if files}


def _find_list(root: Path, folder: Path, name: str) -> Path | None:
    places = [*(root / place for place in _LISTS), folder]
    return next((place / name for place in places if (place / name).is_file()), None)


def _read_list(root: Path, folder: Path, name: str) -> list[tuple[str, int]]:
    """Reads the lines `TEXT NUMBER` of one of Places' lists."""
    path = _find_list(root, folder, name)
    if path is None:
        raise DataError(
            f"data.root={root}: {folder.name}/ is flat and {name}, which labels it, is not in "
            f"{root}; unpack filelist_places365-standard.tar there, of {WHERE['places365']}"
        )
    pairs = []
    for line, text in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        first, _, number = text.strip().rpartition(" ")
        if not text.strip():
            continue
        if not first or not number.isdecimal():
            raise DataError(f"{path} line {line}: expected NAME NUMBER")
        pairs.append((first, int(number)))
    return pairs
