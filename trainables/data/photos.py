"""The embedded default: real photographs from inside the scikit-image and scikit-learn wheels.

A class is a photograph; an image is a square crop of it, `data.image_size` pixels a side, after
the photograph's short side is resized to 5.5 times that. Training, validation and test crops come
from disjoint strips, so that no pixel is shared.

Contrast between classes is what makes forgetting measurable: a flat grey completion must be far
from every class. So each photograph is stretched to its 2nd and 98th percentile, and those without
colour are toned, each with two colours of its own, since grey noise hides in a grey photograph.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.config import DataConfig, to_dict
from trainables.data import dataset
from trainables.data.splits import class_roles
from trainables.utils.cache import build_once
from trainables.utils.errors import DataError
from trainables.utils.hashing import code_version
from trainables.utils.rng import mix_seed

Colour = tuple[int, int, int]

_SHORT_SIDE = 5.5
# shares of a photograph's width; what is left is the test strip
_TRAIN_UNTIL, _VAL_UNTIL = 0.56, 0.78


@dataclass(frozen=True)
class Photograph:
    """Where a photograph lies, and the tones of its shadows and lights if it has no colour."""

    package: str
    file: str
    tones: tuple[Colour, Colour] | None = None


_SKIMAGE, _SKLEARN = "skimage", "sklearn"
FILES: dict[str, Photograph] = {
    "astronaut": Photograph(_SKIMAGE, "data/astronaut.png"),
    "chelsea": Photograph(_SKIMAGE, "data/chelsea.png"),
    "coffee": Photograph(_SKIMAGE, "data/coffee.png"),
    "china": Photograph(_SKLEARN, "datasets/images/china.jpg"),
    "retina": Photograph(_SKIMAGE, "data/retina.jpg"),
    "ihc": Photograph(_SKIMAGE, "data/ihc.png"),
    "flower": Photograph(_SKLEARN, "datasets/images/flower.jpg"),
    "rocket": Photograph(_SKIMAGE, "data/rocket.jpg"),
    "hubble": Photograph(_SKIMAGE, "data/hubble_deep_field.jpg"),
    "motorcycle": Photograph(_SKIMAGE, "data/motorcycle_left.png"),
    "coins": Photograph(_SKIMAGE, "data/coins.png", ((40, 10, 0), (255, 220, 140))),
    "grass": Photograph(_SKIMAGE, "data/grass.png", ((0, 30, 0), (210, 255, 120))),
    "brick": Photograph(_SKIMAGE, "data/brick.png", ((40, 0, 0), (255, 190, 160))),
    "gravel": Photograph(_SKIMAGE, "data/gravel.png", ((0, 0, 40), (190, 210, 255))),
    "camera": Photograph(_SKIMAGE, "data/camera.png", ((20, 0, 40), (240, 200, 255))),
    "moon": Photograph(_SKIMAGE, "data/moon.png", ((0, 10, 50), (255, 255, 210))),
    "page": Photograph(_SKIMAGE, "data/page.png", ((60, 30, 0), (255, 245, 200))),
    "cell": Photograph(_SKIMAGE, "data/cell.png", ((0, 40, 40), (180, 255, 255))),
}


def load(config: DataConfig, cache: Path) -> dataset.Dataset:
    """Returns the crops of a configuration, which are made once."""
    roles = class_roles(config)
    material = {
        "config": {k: v for k, v in to_dict(config).items() if k != "split_file"},
        # pairs, for the order of the classes is that of the labels
        "roles": list(roles.items()),
        "code": code_version("trainables.data", "trainables.utils.rng"),
    }
    folder = build_once(cache, "data", material, lambda path: _build(config, roles, path))
    return dataset.read_dataset(folder)


def _build(config: DataConfig, roles: dict[str, str], folder: Path) -> None:
    rows: list[dict[str, Any]] = []
    crops: list[NDArray[np.uint8]] = []
    for name, role in roles.items():
        pixels = open_photograph(name, config.image_size)
        for split, corners in _corners(name, role, pixels.shape, config).items():
            for y, x in corners:
                crop = pixels[y : y + config.image_size, x : x + config.image_size]
                crops.append(crop)
                path = f"{Path(FILES[name].file).name}@{y},{x}"
                content = dataset.hash_pixels(crop)
                rows.append(dataset.manifest_row(path, name, role, split, content))
    dataset.save_dataset(folder, rows, np.stack(crops), roles)


def open_photograph(name: str, image_size: int) -> NDArray[np.uint8]:
    """Returns a photograph `(H, W, 3)`, resized, stretched and toned.

    Raises:
        DataError: the installed wheel does not hold it.
    """
    photograph = FILES[name]
    spec = importlib.util.find_spec(photograph.package)
    found = Path(spec.origin).parent / photograph.file if spec and spec.origin else None
    if found is None or not found.is_file():
        raise DataError(
            f"photograph {name!r} is not in the installed {photograph.package}; "
            "install the locked versions"
        )
    with Image.open(found) as opened:
        image = opened.convert("RGB")
    scale = _SHORT_SIDE * image_size / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    values = np.asarray(image.resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
    low, high = np.percentile(values, (2, 98))
    values = ((values - low) / max(high - low, 1.0)).clip(0.0, 1.0)
    if photograph.tones:
        dark, light = (np.array(tone, dtype=np.float32) for tone in photograph.tones)
        toned = dark + (light - dark) * values.mean(axis=-1, keepdims=True)
    else:
        toned = 255.0 * values
    pixels: NDArray[np.uint8] = toned.clip(0, 255).astype(np.uint8)
    return pixels


def _corners(
    name: str, role: str, shape: tuple[int, ...], config: DataConfig
) -> dict[str, list[tuple[int, int]]]:
    """Draws distinct top left corners of the crops of each split."""
    height, width = shape[:2]
    first, second = round(width * _TRAIN_UNTIL), round(width * _VAL_UNTIL)
    strips = {
        "train": (0, first, config.most(role, "train")),
        "val": (first, second, config.most(role, "val")),
        "test": (second, width, config.most(role, "test")),
    }
    corners: dict[str, list[tuple[int, int]]] = {}
    for split, (left, right, wanted) in strips.items():
        down, across = height - config.image_size + 1, right - left - config.image_size + 1
        if down * max(across, 0) < wanted:
            raise DataError(
                f"photograph {name!r} has {down * max(across, 0)} {split} crops, "
                f"data.{config.limit(role, split)} asks for {wanted}"
            )
        generator = np.random.default_rng(mix_seed(config.seed, "crops", name, split))
        places = generator.choice(down * across, size=wanted, replace=False)
        corners[split] = [(int(p // across), int(left + p % across)) for p in places]
    return corners
