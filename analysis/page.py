"""The report as one HTML file: sections of texts, tables and pictures, all within the file."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from analysis.tables_io import Table

_MOST_ROWS = 60  # of a table in the page; its files hold all
# width in pixels and quality of JPEG, tried in turn until the pictures are small enough together
_ENCODINGS = ((1600, 85), (1200, 80), (900, 70), (640, 55))
_MOST_BYTES = 5_500_000  # of all pictures, which base64 makes a third larger
_KEPT_BYTES = 400_000  # a PNG up to this size stays as it is


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph."""

    text: str
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Heading:
    """Of a part of a section."""

    title: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Names and what belongs to each."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A table, with its files.

    Attributes:
        table: to show.
        files: names of the files that hold it.
    """

    table: Table
    files: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure.

    Attributes:
        path: of its PNG.
        alt: what it shows, for who cannot see it.
        caption: below it.
        files: names of the files that hold it.
    """

    path: Path
    alt: str
    caption: str
    files: Sequence[str] = ()


Block = Text | Heading | Facts | Listed | Picture


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the page.

    Attributes:
        title: its heading.
        anchor: its place in the page's address.
        blocks: in their order.
    """

    title: str
    anchor: str
    blocks: Sequence[Block] = field(default=())


def render(title: str, subtitle: str, sections: Sequence[Section], source: str) -> str:
    """The page.

    Args:
        title: of the page.
        subtitle: below it.
        sections: in their order.
        source: where the numbers come from, at the page's end.

    Returns:
        HTML in which every text is escaped and every picture inlined.
    """
    pictures = [
        block.path for section in sections for block in section.blocks if isinstance(block, Picture)
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        source=source,
        inlined=inlined(pictures),
        most_rows=_MOST_ROWS,
        kind=lambda block: type(block).__name__,
    )


@dataclass(frozen=True, kw_only=True)
class Inlined:
    """A picture within the page.

    Attributes:
        address: a `data:` URI.
        width, height: of the picture as it is shown at most, pixels.
    """

    address: str
    width: int
    height: int


def inlined(paths: Iterable[Path]) -> dict[Path, Inlined]:
    """Pictures as addresses, enlarged files made smaller until all fit into the page together."""
    every = list(dict.fromkeys(paths))
    for widest, quality in _ENCODINGS:
        encoded = {path: _encoded(path, widest, quality) for path in every}
        if sum(len(data) for data, _ in encoded.values()) <= _MOST_BYTES:
            break
    shown = {}
    for path, (data, kind) in encoded.items() if every else ():
        with Image.open(path) as picture:
            width, height = picture.size
        address = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        shown[path] = Inlined(address=address, width=width, height=height)
    return shown


def _encoded(path: Path, widest: int, quality: int) -> tuple[bytes, str]:
    data = path.read_bytes()
    if len(data) <= _KEPT_BYTES * widest // _ENCODINGS[0][0]:
        return data, "png"
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((widest, 4 * widest))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue(), "jpeg"
