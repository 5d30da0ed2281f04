"""Renders the report as one HTML file that holds its texts, tables and pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from analysis.tables_io import Table

_MOST_ROWS = 60  # that the page shows of a table; its files hold all
# width in pixels and quality of JPEG, tried in turn until the pictures are small enough together
_ENCODINGS = ((1600, 85), (1200, 80), (900, 70), (640, 55))
_MOST_BYTES = 5_500_000  # all pictures together, before base64 makes them a third larger
_KEPT_BYTES = 400_000  # a PNG up to this size stays as it is


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph."""

    text: str
    strong: bool = False


@dataclass(frozen=True, kw_only=True)
class Heading:
    """The heading of a part of a section."""

    title: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Names, each with its value."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class TableBlock:
    """A table, with its files.

    Attributes:
        table: the table to show.
        files: the names of the files that hold it.
    """

    table: Table
    files: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure.

    Attributes:
        path: its PNG.
        alt: a text in its place, for readers who cannot see it.
        caption: the text below it.
        files: the names of the files that hold it.
    """

    path: Path
    alt: str
    caption: str
    files: Sequence[str] = ()


Block = Text | Heading | Facts | TableBlock | Picture


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the page.

    Attributes:
        title: its heading.
        anchor: the end of its address, after `#`.
        blocks: what it shows, in order.
    """

    title: str
    anchor: str
    blocks: Sequence[Block] = field(default=())


def render(title: str, subtitle: str, sections: Sequence[Section], source: str) -> str:
    """Renders the page.

    Args:
        title: the title of the page.
        subtitle: the line below the title.
        sections: the sections in their order.
        source: a line on where the numbers come from, for the page's end.

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
        width, height: the largest size at which it is shown, pixels.
    """

    address: str
    width: int
    height: int


def inlined(paths: Iterable[Path]) -> dict[Path, Inlined]:
    """Returns pictures as addresses, made smaller until all fit into the page together."""
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
