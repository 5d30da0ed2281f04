"""Which images are used, in which roles, and what is removed from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from trainables.config.validation import Checked
from trainables.utils.errors import ConfigError
from trainables.utils.text import close_names

SourceName = Literal[
    "photos", "fashion", "folder", "torchvision", "parquet", "imagenet", "places365"
]
ProxySource = Literal["classes", "coco"]
StoreName = Literal["files", "parquet"]
TaskKind = Literal[
    "centre", "random", "left", "right", "up", "down", "outpaint", "box", "brush", "hybrid"
]
COCO = "coco"  # its images are one class, of this name
# data sets that are decoded as they are read, since their pixels fit into no one array
PUBLISHED: tuple[SourceName, ...] = ("imagenet", "places365")
# data sets that come with the product or with what it installs
EMBEDDED: tuple[SourceName, ...] = ("photos", "fashion")
# data sets that number their classes, and name them themselves
LABELLED: tuple[SourceName, ...] = ("fashion", "torchvision", "parquet")


def _parts(**splits: str) -> dict[str, dict[str, Any]]:
    return {part: {"split": name} for part, name in splits.items()}


# data sets of torchvision by name: the arguments that give their training, validation and test
# images, as far as they have them apart
TORCHVISION: dict[str, dict[str, dict[str, Any]]] = {
    **{
        name: {"train": {"train": True}, "test": {"train": False}}
        for name in ("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST")
    },
    **dict.fromkeys(
        ("DTD", "Flowers102", "RenderedSST2"), _parts(train="train", val="val", test="test")
    ),
    **dict.fromkeys(("Food101", "STL10", "StanfordCars"), _parts(train="train", test="test")),
    **dict.fromkeys(("FGVCAircraft", "OxfordIIITPet"), _parts(train="trainval", test="test")),
    "Country211": _parts(train="train", val="valid", test="test"),
    "Imagenette": _parts(train="train", test="val"),
    "EuroSAT": {"train": {}},
    "SUN397": {"train": {}},
}
# fields of `DataConfig` as the paper has them; the validation images are ours, from its training
# images
PAPER_SIZES: dict[SourceName, dict[str, int]] = {
    "imagenet": {
        "image_size": 256,
        "train_per_class": 100,
        "val_per_class": 50,
        "test_per_class": 50,
    },
    "places365": {
        "image_size": 256,
        "train_per_class": 5000,
        "val_per_class": 100,
        "test_per_class": 100,
        "proxy_per_class": 200,
    },
}


@dataclass(frozen=True, kw_only=True)
class DataConfig(Checked):
    """Which images, in which roles.

    Attributes:
        source: `photos` (embedded in the installed packages), `fashion` (a part of Fashion-MNIST
            that comes with the product), `folder` (a directory of class sub-folders),
            `torchvision` (a data set of it), `parquet` (labelled images in shards, as the Hugging
            Face hub stores them), `imagenet` (ImageNet-1k) or `places365`, in their published
            layouts.
        root: the directory of any source but `photos` and `fashion`.
        dataset: of `torchvision`, one of `TORCHVISION`.
        download: let torchvision download what `root` lacks.
        split_file: optional CSV `class,role` in place of the three lists.
        forget, retain, proxy: class names; empty for `photos` and `fashion` means the product's own
            split, for `imagenet` and `places365` the paper's.
        proxy_source: proxy images are of other `classes` of the source, or of `coco`.
        proxy_root: the directory of COCO.
        image_size: side of the square images, pixels.
        seed: draws crops (`photos`), splits and subsets, and augmented views.
        strict: stop at an unusable image instead of leaving it out.
        train_per_class: most training images of a class.
        val_per_class, test_per_class: most validation and test images of a class. Validation images
            of `imagenet` and `places365` are training images that are not trained on, at most 15 %
            of a class.
        proxy_per_class: most training images of a proxy class; 0 is `train_per_class`, and for
            COCO, which is one class, as many as the forget classes may have together.
        store: `imagenet` and `places365` are read from their `files`, or from a `parquet` store of
            JPEGs in the cache, written once, for file systems that are slow at many small files.
        store_side: short side of the images in the store, pixels; 0 is `image_size`. Smaller images
            stay as they are.
        augment: train on random resized crops, mirrored as often as not, of `imagenet` and
            `places365`; validation and test images are never augmented.
        views: distinct augmented views of a training image, in turn epoch by epoch; 0 is a new one
            in each.
    """

    source: SourceName = "photos"
    root: str = ""
    dataset: str = ""
    download: bool = False
    split_file: str = ""
    forget: tuple[str, ...] = ()
    retain: tuple[str, ...] = ()
    proxy: tuple[str, ...] = ()
    proxy_source: ProxySource = "classes"
    proxy_root: str = ""
    image_size: int = 32
    seed: int = 0
    strict: bool = False
    train_per_class: int = 512
    val_per_class: int = 64
    test_per_class: int = 64
    proxy_per_class: int = 0
    store: StoreName = "files"
    store_side: int = 0
    augment: bool = False
    views: int = 0

    @property
    def name(self) -> str:
        """Returns what the data are called: the data set of torchvision, or else the source."""
        return self.dataset or self.source

    def limit(self, role: str, split: str) -> str:
        """Returns the name of the field that caps a class of a role in a split."""
        proxy = role == "proxy" and split == "train" and self.proxy_per_class
        return f"{'proxy' if proxy else split}_per_class"

    def most(self, role: str, split: str) -> int:
        """Returns how many images a class of a role may have in a split."""
        value: int = getattr(self, self.limit(role, split))
        return value

    def _faults(self) -> list[tuple[bool, str]]:
        both = [
            (name, first, second)
            for first, second in (("forget", "retain"), ("forget", "proxy"), ("retain", "proxy"))
            for name in sorted(set(getattr(self, first)) & set(getattr(self, second)))
        ]
        coco = self.proxy_source == "coco"
        published = self.source in PUBLISHED
        only = f"needs data.source={' or '.join(PUBLISHED)}"
        rooted = [name for name in get_args(SourceName) if name not in EMBEDDED]
        return [
            (
                self.source not in EMBEDDED and not self.root,
                f"source={self.source} needs data.root, the folder of its images; one model's or "
                "family's alone is --set MODEL/data.root=FOLDER",
            ),
            (
                self.source in EMBEDDED and bool(self.root),
                f"root={self.root} is not read by data.source={self.source}: "
                f"--set data.source={', '.join(rooted[:-1])} or {rooted[-1]}",
            ),
            *self._torchvision_faults(),
            (coco and not published, f"proxy_source=coco {only}"),
            (coco and not self.proxy_root, "proxy_source=coco needs data.proxy_root"),
            (coco and bool(self.proxy), "proxy_source=coco takes the place of data.proxy"),
            (self.store == "parquet" and not published, f"store=parquet {only}"),
            (self.augment and not published, f"augment=true {only}"),
            *self._below(8, "image_size"),
            *((True, f"{a} and data.{b} both name class {name!r}") for name, a, b in both),
            *self._below(1, "train_per_class", "val_per_class", "test_per_class"),
            *self._below(0, "proxy_per_class", "store_side", "views"),
        ]

    def _torchvision_faults(self) -> list[tuple[bool, str]]:
        needed, known = self.source == "torchvision", sorted(TORCHVISION)
        hint = close_names(self.dataset, known) or f" (there are: {', '.join(known)})"
        return [
            (
                needed and self.dataset not in TORCHVISION,
                f"dataset={self.dataset!r} is no data set of torchvision that is read here{hint}",
            ),
            (bool(self.dataset) and not needed, "dataset needs data.source=torchvision"),
            (self.download and not needed, "download=true needs data.source=torchvision"),
        ]


@dataclass(frozen=True, kw_only=True)
class LoaderConfig(Checked):
    """Processes that read and decode the images of coming steps; their number changes no result.

    Attributes:
        workers: processes; with 0 a step reads its own images.
        prefetch: steps that each of them is ahead.
    """

    workers: int = 0
    prefetch: int = 2

    def _faults(self) -> list[tuple[bool, str]]:
        return [*self._below(0, "workers"), *self._below(1, "prefetch")]


@dataclass(frozen=True, kw_only=True)
class TaskConfig(Checked):
    """Which part of an image is removed.

    Attributes:
        kind: `centre` (a square), `random` (patches), `left`, `right`, `up`, `down` (that side),
            `outpaint` (the border), `box` (a rectangle anywhere), `brush` (free-form strokes),
            `hybrid` (what a box or strokes cover).
        ratio: side of the centre square, share of the patches, of the side, or of the border; of
            box, brush and hybrid the share of the area; in (0, 1).
    """

    kind: TaskKind = "centre"
    ratio: float = 0.5

    @property
    def name(self) -> str:
        """Returns a name such as `centre_0.5`."""
        return f"{self.kind}_{self.ratio:g}"

    def _faults(self) -> list[tuple[bool, str]]:
        return [(not 0.0 < self.ratio < 1.0, f"ratio={self.ratio} is outside (0, 1)")]


def parse_task(text: str) -> TaskConfig:
    """Reads a task from `kind:ratio`, such as `centre:0.5`.

    Raises:
        ValueError: the text is no such pair.
        ConfigError: the ratio is outside of its range.
    """
    kind, _, ratio = text.partition(":")
    if kind not in get_args(TaskKind):
        raise ValueError(text)
    return TaskConfig(kind=kind, ratio=float(ratio))  # type: ignore[arg-type]


def task_faults(name: str, tasks: Iterable[str]) -> list[tuple[bool, str]]:
    """Returns a fault for each text that is no `kind:ratio`, as `Checked` collects them.

    Args:
        name: of the field that holds them.
        tasks: its texts.
    """
    faults = []
    for text in tasks:
        try:
            parse_task(text)
        except (ValueError, ConfigError):
            told = f"{name}={text!r} is not kind:ratio, such as centre:0.5, the ratio in (0, 1)"
            faults.append((True, told))
    return faults
