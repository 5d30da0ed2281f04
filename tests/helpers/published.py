"""Small trees in the layouts of the published data sets, of crops of real photographs."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

from trainables.config import DataConfig
from trainables.data.layouts import paper_split

FORGET, RETAIN, PROXY = ("n01443537", "n01484850"), ("n09835506",), ("n01440764", "n01491361")
FORGOTTEN, KEPT, OTHERS = ("airfield",), ("desert/sand", "barn"), ("wet_bar",)
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")


@functools.cache
def _photograph(name: str) -> np.ndarray:
    return np.asarray(getattr(data, name)())


def crop(seed: int, width: int = 60, height: int = 44) -> Image.Image:
    """A part of a photograph."""
    chance = np.random.default_rng(seed)
    pixels = _photograph(PHOTOGRAPHS[seed % len(PHOTOGRAPHS)])
    y = int(chance.integers(pixels.shape[0] - height))
    x = int(chance.integers(pixels.shape[1] - width))
    return Image.fromarray(pixels[y : y + height, x : x + width])


def fill(folder: Path, names: list[str], seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        crop(seed + number).save(folder / name, "JPEG", quality=90)


def imagenet(root: Path, train: int = 10, val: int = 4, *, backwards: bool = False) -> Path:
    """`train/<wnid>` and `val/<wnid>`; `backwards` creates the files in another order."""
    step = -1 if backwards else 1
    for place, wnid in [*enumerate((*FORGET, *RETAIN, *PROXY))][::step]:
        names = [f"{wnid}_{number}.JPEG" for number in range(train)]
        for number, name in [*enumerate(names)][::step]:
            fill(root / "train" / wnid, [name], 1000 * place + number)
        fill(
            root / "val" / wnid,
            [f"ILSVRC2012_val_{place:04}{number:04}.JPEG" for number in range(val)],
            1000 * place + 500,
        )
    return root


def places(root: Path, *, nested: bool = True, flat_val: bool = True) -> Path:
    """`train_256` nested or not, `val_256` flat with its two lists or a folder a class."""
    classes = (*FORGOTTEN, *KEPT, *OTHERS)
    lines = []
    for place, name in enumerate(classes):
        folder = f"{name[0]}/{name}" if nested else name.replace("/", "-")
        fill(
            root / "train_256" / folder, [f"{n:08}.jpg" for n in range(1, 11)], 9000 + 1000 * place
        )
        names = [f"Places365_val_{4 * place + n:08}.jpg" for n in range(1, 5)]
        fill(
            root / "val_256" if flat_val else root / "val_256" / folder, names, 9500 + 1000 * place
        )
        lines += [f"{each} {label_of(name)}" for each in names]
    if flat_val:
        (root / "places365_val.txt").write_text("\n".join(lines[::-1]) + "\n")
        (root / "categories_places365.txt").write_text(
            "".join(f"/{n[0]}/{n} {label_of(n)}\n" for n in sorted(paper_split("places365")))
        )
    return root


def label_of(name: str) -> int:
    return sorted(paper_split("places365")).index(name)


def role_settings() -> list[str]:
    """Settings of a sweep by which the families that forget these classes name them."""
    return [
        f"data.forget={','.join(FORGET)}",
        f"data.retain={','.join(RETAIN)}",
        f"data.proxy={','.join(PROXY)}",
        f"palette/data.forget={','.join(FORGOTTEN)}",
        f"palette/data.retain={','.join(KEPT)}",
        f"palette/data.proxy={','.join(OTHERS)}",
    ]


def coco(root: Path, images: int = 12, *, below: str = "") -> Path:
    fill(root / below / "train2017", [f"{n:012}.jpg" for n in range(images)], 70_000)
    return root


def spoil(path: Path) -> None:
    """Cuts a JPEG's end off, as a broken download does."""
    path.write_bytes(path.read_bytes()[:-400])


SIZES = {"train_per_class": 4, "val_per_class": 2, "test_per_class": 3}


def of_imagenet(root: Path, **fields: Any) -> DataConfig:
    roles = {"forget": FORGET, "retain": RETAIN, "proxy": PROXY}
    if fields.get("proxy_source") == "coco":
        del roles["proxy"]
    options = {"image_size": 16, **SIZES, **roles, **fields}
    return DataConfig(source="imagenet", root=str(root), **options)


def of_places(root: Path, **fields: Any) -> DataConfig:
    roles = {"forget": FORGOTTEN, "retain": KEPT, "proxy": OTHERS}
    return DataConfig(
        source="places365", root=str(root), image_size=16, **{**SIZES, **roles, **fields}
    )
