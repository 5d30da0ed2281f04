"""Directories of image files, good and bad, made on the spot."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from trainables.config import DataConfig

SIDE = 16


def noise(seed: int, side: int = 20) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, bits: int, colour_type: int, data: bytes) -> bytes:
    """A PNG file by hand, for depths that Pillow does not write and sizes that nobody should."""

    def chunk(name: bytes, content: bytes) -> bytes:
        checked = name + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def deep_png(colour_type: int, *values: int) -> bytes:
    """A 16-bit PNG of one colour, 20 pixels a side."""
    line = b"\0" + struct.pack(f">{len(values)}H", *values) * 20
    return png(20, 20, 16, colour_type, line * 20)


def plant(root: Path, classes: Iterable[str] = ("cats", "dogs"), each: int = 30) -> Path:
    """A tree with `each` good images a class, JPEG and PNG in turn."""
    for place, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(each):
            suffix = ".jpg" if number % 2 else ".png"
            noise(1000 * place + number).save(root / name / f"{number:03}{suffix}")
    return root


# name -> content and part of the reason for which it is refused
REFUSED: dict[str, tuple[bytes, str]] = {
    "corrupt.jpg": (b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4, ""),
    "corrupt.png": (
        encoded(noise(1), "PNG")[:60] + bytes(80) + encoded(noise(1), "PNG")[140:],
        "corrupt or truncated",
    ),
    "truncated.jpg": (encoded(noise(1), "JPEG")[:-300], "corrupt or truncated"),
    "truncated.png": (encoded(noise(1), "PNG")[:-300], "corrupt or truncated"),
    "cut_header.png": (encoded(noise(1), "PNG")[:20], ""),
    "nothing.jpg": (b"", "empty file"),
    "one_pixel.png": (encoded(Image.new("RGB", (1, 1)), "PNG"), "1x1 is too small"),
    "line.png": (encoded(Image.new("RGB", (500, 1)), "PNG"), "500x1 is too small"),
    "text.jpg": (b"this is not an image\n" * 9, "not a JPEG or PNG image"),
    "page.png": (b"<html>404</html>", "not a JPEG or PNG image"),
    "gif.jpg": (encoded(noise(1), "GIF"), "not a JPEG or PNG image"),
    "bomb.png": (png(100_000, 100_000, 8, 2, b""), "too many pixels to decode safely"),
    "little_bomb.png": (png(10_000, 9_500, 8, 2, b""), "too many pixels to decode safely"),
}


def config(tree: Path, **fields: Any) -> DataConfig:
    defaults = {"forget": ("cats",), "retain": ("dogs",), "image_size": SIDE}
    return DataConfig(source="folder", root=str(tree), **{**defaults, **fields})
