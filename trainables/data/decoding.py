"""Decodes image files to upright RGB pixels, resized and centred; encodes them as JPEG."""

from __future__ import annotations

import contextlib
import io
import math
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from trainables.data.layouts import FORMATS
from trainables.utils.errors import DataError
from trainables.utils.text import one_line

# what Pillow's decoders raise at broken files; an OSError with a number is the system's instead,
# such as a network drive's, and no property of the file
_DECODING = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    struct.error,
)
# finer than the eye: a store changes what the models see as little as it can
_JPEG = {"quality": 95, "subsampling": "4:4:4"}
# the published trainings' share of the area, and width to height
_AREA, _ASPECT = (0.2, 1.0), (3 / 4, 4 / 3)
_TRIES = 10


class UnusableError(Exception):
    """A file cannot be used, and this is why."""


def open_image(path: Path, image_size: int) -> NDArray[np.uint8]:
    """Reads an image as `(image_size, image_size, 3)` bytes: upright, RGB, resized, centred.

    Alpha is laid over white; 16-bit values are scaled to 8 bits.

    Raises:
        UnusableError: corrupt, truncated, empty, too large or too small.
        DataError: the system does not let us read it.
    """
    with pillow_warnings():
        return centred(decode(path, smallest=math.ceil(image_size / 2)), image_size)


@contextlib.contextmanager
def pillow_warnings() -> Iterator[None]:
    """Sets the warnings that `decode` relies on, for the whole process: one thread enters."""
    with warnings.catch_warnings():
        # a decompression bomb is refused, not warned of
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # Pillow's remarks on metadata that nobody reads
        warnings.simplefilter("ignore", UserWarning)
        yield


def decode(encoded: Path | bytes, *, smallest: int = 1) -> Image.Image:
    """Decodes an image of one of `FORMATS`, upright and RGB; called inside `pillow_warnings`.

    Args:
        encoded: a file, or its content.
        smallest: least short side that is taken, pixels.

    Raises:
        UnusableError: corrupt, truncated, empty, too large or too small.
        DataError: the system does not let us read it.
    """
    with _refusing(encoded):
        size = len(encoded) if isinstance(encoded, bytes) else encoded.stat().st_size
        if not size:
            raise UnusableError("empty file")
        file = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
        with Image.open(file, formats=tuple(FORMATS)) as opened:
            _refuse_small(opened, smallest)
            return _to_rgb(_upright(opened))


def convert(read: Callable[[], Image.Image], name: str, *, smallest: int = 1) -> Image.Image:
    """Returns an image that a library opens, as RGB; called inside `pillow_warnings`.

    Args:
        read: opens the image.
        name: of the image, in a message.
        smallest: least short side that is taken, pixels.

    Raises:
        UnusableError: corrupt, truncated, too large or too small.
        DataError: the system does not let us read it.
    """
    with _refusing(name):
        opened = read()
        _refuse_small(opened, smallest)
        return _to_rgb(opened)


def _refuse_small(image: Image.Image, smallest: int) -> None:
    if min(image.size) < smallest:
        raise UnusableError(f"{image.width}x{image.height} is too small")


@contextlib.contextmanager
def _refusing(encoded: Path | bytes | str) -> Iterator[None]:
    try:
        yield
    except UnidentifiedImageError:
        raise UnusableError(f"not a {' or '.join(FORMATS)} image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnusableError("too many pixels to decode safely") from None
    except _DECODING as error:
        if isinstance(error, OSError) and error.errno:
            raise DataError(
                f"{encoded!s}: {error.strerror}; make it readable or remove it"
            ) from None
        raise UnusableError(f"corrupt or truncated ({one_line(error)})") from None


def centred(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Resizes the short side to `side` and returns the middle square, `(side, side, 3)`."""
    fitted = ImageOps.fit(image, (side, side), Image.Resampling.LANCZOS)
    return np.asarray(fitted, dtype=np.uint8)


def encode(image: Image.Image, short_side: int) -> bytes:
    """Returns a JPEG of an image, whose short side is reduced to `short_side` where longer."""
    scale = short_side / min(image.size)
    if scale < 1.0:
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.save(written, "JPEG", **_JPEG)
    return written.getvalue()


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # broken metadata, whatever Pillow raises on it, does not spoil the pixels
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        # Pillow would clip 16 bits at 255
        deep = np.asarray(image, dtype=np.float64)
        return Image.fromarray((deep / 257.0).round().clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        laid = Image.new("RGBA", image.size, "white")
        laid.alpha_composite(image.convert("RGBA"))
        return laid.convert("RGB")
    return image.convert("RGB")


def random_crop(image: Image.Image, side: int, chance: np.random.Generator) -> NDArray[np.uint8]:
    """Returns a random part of an image, `(side, side, 3)`, as often as not mirrored.

    The part has 20 % to 100 % of the area, 3:4 to 4:3 of width to height, and is resized; an image
    too long for any such part gives its middle.
    """
    box = _random_box(image.width, image.height, chance)
    view = image.resize((side, side), Image.Resampling.BICUBIC, box=box)
    if chance.random() < 0.5:
        view = ImageOps.mirror(view)
    return np.asarray(view, dtype=np.uint8)


def _random_box(
    width: int, height: int, chance: np.random.Generator
) -> tuple[float, float, float, float]:
    for _ in range(_TRIES):
        area = width * height * chance.uniform(*_AREA)
        aspect = math.exp(chance.uniform(math.log(_ASPECT[0]), math.log(_ASPECT[1])))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            left = int(chance.integers(width - across + 1))
            top = int(chance.integers(height - down + 1))
            return left, top, left + across, top + down
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side
