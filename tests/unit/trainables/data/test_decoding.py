"""One image file: converted to RGB of the right colour, or refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.helpers.trees import REFUSED, deep_png, encoded, noise
from trainables.data import decoding, folder

SIDE = 16
Colour = tuple[int, ...]


def flat(mode: str, colour: int | Colour) -> Image.Image:
    return Image.new(mode, (20, 20), colour)


def palette(transparent: bool) -> bytes:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    return encoded(image, "PNG", **({"transparency": b"\xff\x00"} if transparent else {}))


CONVERTED: dict[str, tuple[bytes, Colour]] = {
    "cmyk.jpg": (encoded(flat("CMYK", (0, 255, 255, 0)), "JPEG", quality=95), (255, 0, 0)),
    "grey.jpg": (encoded(flat("L", 100), "JPEG"), (100, 100, 100)),
    "progressive.jpeg": (
        encoded(flat("RGB", (200, 30, 40)), "JPEG", progressive=True, quality=95),
        (200, 30, 40),
    ),
    "rgba.png": (encoded(flat("RGBA", (255, 0, 0, 128)), "PNG"), (255, 127, 127)),
    "clear.png": (encoded(flat("RGBA", (0, 0, 0, 0)), "PNG"), (255, 255, 255)),
    "grey_alpha.png": (encoded(flat("LA", (0, 51)), "PNG"), (204, 204, 204)),
    "palette.png": (palette(False), (10, 200, 30)),
    "palette_clear.png": (palette(True), (255, 255, 255)),
    "key_clear.png": (
        encoded(flat("RGB", (1, 2, 3)), "PNG", transparency=(1, 2, 3)),
        (255, 255, 255),
    ),
    "bit.png": (encoded(flat("1", 1), "PNG"), (255, 255, 255)),
    "deep_grey.png": (deep_png(0, 32768), (128, 128, 128)),
    "deep_middle.png": (deep_png(0, 33000), (128, 128, 128)),
    "deep_dark.png": (deep_png(0, 257), (1, 1, 1)),
    "deep_white.png": (deep_png(0, 65535), (255, 255, 255)),
    "deep_rgb.png": (deep_png(2, 65535, 32768, 0), (255, 128, 0)),
    "deep_grey_alpha.png": (deep_png(4, 0, 32768), (127, 127, 127)),
    "deep_rgba.png": (deep_png(6, 65535, 0, 0, 32768), (255, 127, 127)),
    "CAPITALS.JPG": (encoded(flat("RGB", (9, 9, 9)), "JPEG"), (9, 9, 9)),
    "CAPITALS.Png": (encoded(flat("RGB", (7, 8, 9)), "PNG"), (7, 8, 9)),
    "naïve ☀ name, with 'quotes' .png": (encoded(flat("RGB", (1, 2, 3)), "PNG"), (1, 2, 3)),
    "png_in_truth.jpg": (encoded(flat("RGB", (5, 6, 7)), "PNG"), (5, 6, 7)),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_other_kinds_of_image_become_rgb_of_the_right_colour(name: str, tmp_path: Path) -> None:
    content, colour = CONVERTED[name]
    (tmp_path / name).write_bytes(content)
    pixels = folder.open_image(tmp_path / name, SIDE)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels.dtype == np.uint8
    lossy = 2 if content.startswith(b"\xff\xd8") else 0
    wanted = np.broadcast_to(colour, pixels.shape)
    np.testing.assert_allclose(pixels.astype(int), wanted, atol=lossy)


def halves(first: Colour, second: Colour) -> Image.Image:
    """Left and right half, 40 pixels wide and 20 high."""
    values = np.zeros((20, 40, 3), dtype=np.uint8)
    values[:, :20], values[:, 20:] = first, second
    return Image.fromarray(values)


def mean_colour(pixels: NDArray[np.uint8]) -> list[int]:
    return [round(value) for value in pixels.mean(axis=(0, 1))]


@pytest.mark.parametrize(("kind", "name"), [("JPEG", "turned.jpg"), ("PNG", "turned.png")])
def test_a_turned_photograph_is_set_upright(kind: str, name: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned a quarter to the right
    options = {"exif": exif} | ({"quality": 95, "subsampling": 0} if kind == "JPEG" else {})
    (tmp_path / name).write_bytes(encoded(halves((250, 0, 0), (0, 0, 250)), kind, **options))
    pixels = folder.open_image(tmp_path / name, SIDE)
    top, bottom = mean_colour(pixels[:4]), mean_colour(pixels[-4:])
    assert top[0] > 200 > 50 > top[2]
    assert bottom[2] > 200 > 50 > bottom[0]


def exif(place: int, value: int) -> bytes:
    """Metadata with an orientation, of which one byte is wrong."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010E], tags[0x0131] = (
        6,
        "described",
        "by some program of that name, years ago",
    )
    content = bytearray(tags.tobytes().removeprefix(b"Exif\0\0"))
    content[place] = value
    return bytes(content)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        pytest.param(0, 0, id="no TIFF header"),
        pytest.param(11, 0, id="struct.error"),
        pytest.param(11, 26, id="TypeError"),
        pytest.param(13, 11, id="AttributeError"),
    ],
)
def test_broken_metadata_does_not_spoil_the_pixels(place: int, value: int, tmp_path: Path) -> None:
    content = encoded(flat("RGB", (50, 100, 150)), "PNG", exif=exif(place, value))
    (tmp_path / "x.png").write_bytes(content)
    assert mean_colour(folder.open_image(tmp_path / "x.png", SIDE)) == [50, 100, 150]


def test_the_middle_of_a_wide_image_is_taken(tmp_path: Path) -> None:
    values = np.zeros((30, 90, 3), dtype=np.uint8)
    values[:, 30:60, 1] = 255
    Image.fromarray(values).save(tmp_path / "wide.png")
    Image.fromarray(values.swapaxes(0, 1)).save(tmp_path / "high.png")
    for name in ("wide.png", "high.png"):
        inner = folder.open_image(tmp_path / name, SIDE)[2:-2, 2:-2]
        np.testing.assert_allclose(inner.reshape(-1, 3).mean(axis=0), (0, 255, 0), atol=1)


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    content, reason = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(decoding.UnusableError) as caught:
        folder.open_image(tmp_path / name, SIDE)
    assert reason in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_every_byte_may_be_wrong(tmp_path: Path) -> None:
    """Whatever the bytes, a file is an image or refused: nothing else leaves the function."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "described"
    whole = [encoded(noise(3), "JPEG", exif=exif), encoded(noise(3), "PNG", exif=exif)]
    whole += [CONVERTED[name][0] for name in ("cmyk.jpg", "palette_clear.png", "deep_rgb.png")]
    generator = np.random.default_rng(0)
    outcomes: Counter[str] = Counter()
    path = tmp_path / "any.png"
    for turn in range(1500):
        content = bytearray(whole[turn % len(whole)])
        for place in generator.integers(0, len(content), 3):
            content[place] = generator.integers(0, 256)
        path.write_bytes(content)
        try:
            outcomes[str(folder.open_image(path, SIDE).shape)] += 1
        except decoding.UnusableError:
            outcomes["refused"] += 1
    assert outcomes.keys() == {f"({SIDE}, {SIDE}, 3)", "refused"}
    assert min(outcomes.values()) > 100
