"""Small labelled data sets, each in the real format of its library."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from trainables.config import DataConfig

TRAIN, TEST = 20, 6  # images of a class


def picture(seed: int, side: int = 32, *, grey: bool = False) -> NDArray[np.uint8]:
    """Bytes `(side, side, 3)`, or `(side, side)` if grey."""
    shape = (side, side) if grey else (side, side, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, seed: int, kind: str = "JPEG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed)).save(path, kind)


def idx(values: NDArray[np.uint8]) -> bytes:
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    return head + values.tobytes()


def labels(classes: int, count: int) -> NDArray[np.uint8]:
    return np.tile(np.arange(classes, dtype=np.uint8), count)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def fashion_mnist(root: Path, patched: pytest.MonkeyPatch) -> None:
    folder = root / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    for name, count in (("train", TRAIN), ("t10k", TEST)):
        known = labels(10, count)
        images = np.stack([picture(n, 28, grey=True) for n in range(len(known))])
        (folder / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx(known))


def cifar10(root: Path, patched: pytest.MonkeyPatch) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = ["airplane", "automobile", "bird", "cat"]
    contents: dict[str, Any] = {"batches.meta": {"label_names": names}}
    for name, count in (("data_batch_1", TRAIN), ("test_batch", TEST)):
        known = labels(4, count)
        data = np.stack([picture(n).transpose(2, 0, 1).ravel() for n in range(len(known))])
        contents[name] = {"data": data, "labels": known.tolist()}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
    sums = {name: md5(folder / name) for name in contents}
    kind = datasets.CIFAR10
    patched.setattr(kind, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    patched.setattr(kind, "test_list", [["test_batch", sums["test_batch"]]])
    patched.setattr(kind, "meta", {**kind.meta, "md5": sums["batches.meta"]})


def stl10(root: Path, patched: pytest.MonkeyPatch) -> None:
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    (folder / "unlabeled_X.bin").write_bytes(b"")
    for name, count in (("train", TRAIN), ("test", TEST)):
        known = labels(2, count)
        images = np.stack([picture(n, 96).transpose(2, 1, 0) for n in range(len(known))])
        (folder / f"{name}_X.bin").write_bytes(images.tobytes())
        (folder / f"{name}_y.bin").write_bytes((known + 1).tobytes())
    for listed in ("train_list", "test_list"):
        files = [[name, md5(folder / name)] for name, _ in getattr(datasets.STL10, listed)]
        patched.setattr(datasets.STL10, listed, files)


def flowers102(root: Path, patched: pytest.MonkeyPatch) -> None:
    folder = root / "flowers-102"
    counts = {"trnid": 2 * TRAIN, "valid": 2 * TEST, "tstid": 2 * TEST}
    ends = np.cumsum([0, *counts.values()])
    for number in range(ends[-1]):
        save(folder / "jpg" / f"image_{number + 1:05}.jpg", number)
    savemat(folder / "imagelabels.mat", {"labels": 1 + labels(2, ends[-1] // 2)})
    ids = {name: 1 + np.arange(*ends[n : n + 2]) for n, name in enumerate(counts)}
    savemat(folder / "setid.mat", ids)
    files = {
        key: (name, md5(folder / name) if name.endswith(".mat") else sum_)
        for key, (name, sum_) in datasets.Flowers102._file_dict.items()
    }
    patched.setattr(datasets.Flowers102, "_file_dict", files)


def food101(root: Path, patched: pytest.MonkeyPatch) -> None:
    folder = root / "food-101"
    for part, first, count in (("train", 0, TRAIN), ("test", TRAIN, TEST)):
        named = {
            food: [f"{food}/{first + n}" for n in range(count)] for food in ("apple_pie", "sushi")
        }
        for seed, path in enumerate(path for each in named.values() for path in each):
            save(folder / "images" / f"{path}.jpg", 1000 * first + seed)
        (folder / "meta").mkdir(exist_ok=True)
        (folder / "meta" / f"{part}.json").write_text(json.dumps(named))


def pets(root: Path, patched: pytest.MonkeyPatch) -> None:
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for part, first, count in (("trainval", 0, TRAIN), ("test", TRAIN, TEST)):
        lines = []
        for label, pet in enumerate(("Abyssinian", "american_bulldog")):
            for number in range(first, first + count):
                save(folder / "images" / f"{pet}_{number}.jpg", 1000 * label + number)
                lines.append(f"{pet}_{number} {label + 1} {label + 1} 1\n")
        (folder / "annotations" / f"{part}.txt").write_text("".join(lines))


def imagenette(root: Path, patched: pytest.MonkeyPatch) -> None:
    for part, count in (("train", TRAIN), ("val", TEST)):
        for place, wnid in enumerate(("n01440764", "n02102040")):
            for number in range(count):
                path = root / "imagenette2" / part / wnid / f"{wnid}_{number}.jpeg"
                save(path, 1000 * place + number + 500 * (part == "val"))


def eurosat(root: Path, patched: pytest.MonkeyPatch) -> None:
    for place, name in enumerate(("AnnualCrop", "Forest")):
        for number in range(60):
            save(root / "eurosat" / "2750" / name / f"{name}_{number}.jpg", 1000 * place + number)


# data set -> what writes it, and two of its classes by torchvision's names
WRITERS: dict[str, tuple[Callable[[Path, pytest.MonkeyPatch], None], tuple[str, str]]] = {
    "FashionMNIST": (fashion_mnist, ("T-shirt/top", "Ankle boot")),
    "CIFAR10": (cifar10, ("automobile", "cat")),
    "STL10": (stl10, ("airplane", "bird")),
    "Flowers102": (flowers102, ("pink primrose", "hard-leaved pocket orchid")),
    "Food101": (food101, ("apple_pie", "sushi")),
    "OxfordIIITPet": (pets, ("Abyssinian", "American Bulldog")),
    "Imagenette": (imagenette, ("tench", "English springer")),
    "EuroSAT": (eurosat, ("AnnualCrop", "Forest")),
}


def of_torchvision(root: Path, dataset: str, **fields: Any) -> DataConfig:
    forget, retain = WRITERS[dataset][1]
    usual = {"forget": (forget,), "retain": (retain,)}
    return DataConfig(source="torchvision", root=str(root), dataset=dataset, **{**usual, **fields})


def png(pixels: NDArray[np.uint8]) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "PNG")
    return written.getvalue()


NAMES = ("tench, Tinca tinca", "crane", "crane")


def shard(
    path: Path,
    known: list[int | None],
    first: int = 0,
    columns: tuple[str, str] = ("image", "label"),
) -> None:
    """A file as `datasets.Dataset.push_to_hub` writes it."""
    image, label = columns
    features = {
        image: {"_type": "Image"},
        label: {"names": list(NAMES), "_type": "ClassLabel"},
    }
    schema = pa.schema(
        {image: pa.struct({"bytes": pa.binary(), "path": pa.string()}), label: pa.int64()},
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows = [
        {image: {"bytes": png(picture(first + n)), "path": None}, label: each}
        for n, each in enumerate(known)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=7)


def hub(root: Path) -> Path:
    """Two training shards, one for testing, and the labels that a hidden test set has."""
    for number in range(2):
        name = f"train-{number:05}-of-00002.parquet"
        shard(root / "data" / name, [*labels(3, TRAIN).tolist(), None], 1000 * number)
    shard(root / "data" / "validation-00000-of-00001.parquet", labels(3, TEST).tolist(), 5000)
    shard(root / "data" / "test-00000-of-00001.parquet", [-1] * 9, 6000)
    return root
