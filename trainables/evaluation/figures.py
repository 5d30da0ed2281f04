"""Draws what a trial leaves: its completions side by side, the t-SNE of its embeddings.

A grid is composed pixel by pixel and a plot is drawn on its own `Figure`: no pyplot, no global
state, so that trials may draw in any thread. Libraries are imported where they are used: the
analysis draws without torch.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from torch import Tensor

GROUPS = ("original/retain", "original/forget", "unlearned/retain", "unlearned/forget")
ROLE_HINTS = {"forget": "should be lost", "retain": "should be kept"}
# Okabe and Ito's palette, for the colour-blind; marker and filling tell the groups apart in grey.
ROLE_COLOURS = {"forget": "#D55E00", "retain": "#0072B2"}
_MARKERS = {"forget": "^", "retain": "o"}
_INK, _SOFT = "#1a1a1a", "#5f5f5f"
_CELL, _GAP, _HEAD, _MARGIN, _BETWEEN = 96, 6, 56, 16, 28  # pixels of a grid


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Turns images (n, 3, H, W) in [0, 1] into (n, H, W, 3) bytes; values outside are clipped."""
    array = images.detach().cpu().float().permute(0, 2, 3, 1).numpy()
    return np.asarray(np.clip(array, 0.0, 1.0) * 255.0 + 0.5, dtype=np.uint8)


def sample_grid(
    path: Path,
    columns: Mapping[str, Tensor],
    rows: Sequence[str],
    *,
    title: str,
    subtitle: str = "",
) -> None:
    """Writes a PNG of completions: a block a role, in it a row an image.

    Args:
        path: the PNG.
        columns: heading to images (n, 3, H, W) in [0, 1]; the caller fills an input's hole grey.
        rows: the role of each of the n images, `forget` or `retain`.
        title: first line.
        subtitle: second line, smaller.
    """
    pixels = {heading: to_pixels(images) for heading, images in columns.items()}
    compose_grid(pixels, rows, title=title, subtitle=subtitle).save(path)


def compose_grid(
    columns: Mapping[str, NDArray[np.uint8]],
    rows: Sequence[str],
    *,
    title: str,
    subtitle: str = "",
    stacked: bool = False,
) -> Image:
    """Composes completions into a picture, enlarged by whole pixels to cells of 96 or more.

    Args:
        columns: heading to images (n, H, W, 3), bytes.
        rows: the role of each of the n images; roles become blocks in their order of appearance.
        title: first line.
        subtitle: second line, smaller.
        stacked: blocks one below the other, not side by side.
    """
    from PIL import Image, ImageDraw

    height, width = next(iter(columns.values())).shape[1:3]
    scale = -(-_CELL // min(height, width))
    step_x, step_y = width * scale + _GAP, height * scale + _GAP
    blocks = {role: [i for i, other in enumerate(rows) if other == role] for role in rows}
    wide = len(columns) * step_x - _GAP
    high = _HEAD + max(map(len, blocks.values())) * step_y - _GAP
    right, below = (0, high + _BETWEEN) if stacked else (wide + _BETWEEN, 0)
    first = _MARGIN + (58 if subtitle else 34)
    size = (
        2 * _MARGIN + wide + (len(blocks) - 1) * right,
        _MARGIN + first + high + (len(blocks) - 1) * below,
    )
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    room = size[0] - 2 * _MARGIN
    draw.text((_MARGIN, _MARGIN - 4), title, fill=_INK, font=_fitting(title, room, 22))
    draw.text((_MARGIN, _MARGIN + 26), subtitle, fill=_SOFT, font=_fitting(subtitle, room, 14))
    for at, (role, chosen) in enumerate(blocks.items()):
        corner = (_MARGIN + at * right, first + at * below)
        shown = {heading: images[chosen] for heading, images in columns.items()}
        _draw_block(picture, corner, role, shown, scale)
    return picture


def _draw_block(
    picture: Image,
    corner: tuple[int, int],
    role: str,
    columns: Mapping[str, NDArray[np.uint8]],
    scale: int,
) -> None:
    """Draws one role's images below its coloured bar and the headings."""
    from PIL import Image, ImageDraw

    draw = ImageDraw.Draw(picture)
    height, width = (side * scale for side in next(iter(columns.values())).shape[1:3])
    left, top = corner
    wide = len(columns) * (width + _GAP) - _GAP
    hint = f"{role.upper()}  {ROLE_HINTS.get(role, '')}"
    draw.rectangle((left, top, left + wide - 1, top + 25), fill=ROLE_COLOURS.get(role, _INK))
    draw.text((left + 8, top + 4), hint, fill="white", font=_fitting(hint, wide - 16, 15))
    for column, (heading, images) in enumerate(columns.items()):
        x = left + column * (width + _GAP)
        font = _fitting(heading, width, 15)
        draw.text((x + width / 2, top + 33), heading, fill=_INK, font=font, anchor="ma")
        for row, pixels in enumerate(images):
            tile = Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1))
            picture.paste(tile, (x, top + _HEAD + row * (height + _GAP)))


def _fitting(text: str, width: int, largest: int) -> Any:
    """Returns the largest of Pillow's own font, down to 9 points, in which a text fits."""
    from PIL import ImageFont

    for size in range(largest, 9, -1):
        font = ImageFont.load_default(size)
        if font.getlength(text) <= width:
            return font
    return ImageFont.load_default(9)


def tsne_panel(axes: Axes, points: NDArray[np.floating[Any]], groups: Sequence[str]) -> None:
    """Draws the four groups: circles retain, triangles forget; hollow original, filled unlearned.

    Args:
        axes: where.
        points: (N, 2).
        groups: of each point, one of `GROUPS`.
    """
    labels = np.asarray(groups)
    for group in (group for group in GROUPS if group in labels):
        chosen = np.asarray(points)[labels == group]
        who, _, role = group.partition("/")
        colour = ROLE_COLOURS[role]
        axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=26,
            marker=_MARKERS[role],
            facecolors=colour if who == "unlearned" else "none",
            edgecolors="white" if who == "unlearned" else colour,
            linewidths=0.4 if who == "unlearned" else 1.0,
            alpha=0.9,
            label=f"{who}, {role}",
        )
    axes.set_xticks([])
    axes.set_yticks([])  # the axes of a t-SNE have no unit and no direction
    axes.set_aspect("equal", adjustable="datalim")


def tsne_figure(
    paths: Sequence[Path],
    points: NDArray[np.floating[Any]],
    groups: Sequence[str],
    *,
    title: str,
    subtitle: str = "",
) -> None:
    """Writes the t-SNE of one trial, the format by each path's suffix (`.png`, `.pdf`).

    Args:
        paths: the files.
        points: (N, 2), by `embeddings.tsne_points`.
        groups: of each point, one of `GROUPS`.
        title: first line.
        subtitle: second line, smaller.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.2), layout="constrained")
    axes = figure.subplots()
    tsne_panel(axes, points, groups)
    figure.suptitle(title, x=0.008, ha="left", fontsize=13)
    axes.set_title(subtitle, loc="left", fontsize=9, color=_SOFT)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    save_figure(figure, paths)


def save_figure(figure: Figure, paths: Sequence[Path], about: str = "") -> None:
    """Writes a figure to each path, its format by the suffix; the same figure, the same bytes.

    Args:
        figure: to write.
        paths: the files.
        about: where it comes from, for the metadata: a PNG's `Description`, a PDF's `Subject`.
    """
    import matplotlib as mpl

    for path in paths:
        pdf = path.suffix == ".pdf"
        metadata: dict[str, Any] = {"CreationDate": None} if pdf else {}
        if about:
            metadata["Subject" if pdf else "Description"] = about
        with mpl.rc_context({"pdf.fonttype": 42}):
            figure.savefig(path, dpi=120, metadata=metadata)


def write_samples(
    path: Path, columns: Mapping[str, Tensor], rows: Sequence[str], index: Sequence[int]
) -> None:
    """Writes `samples.parquet`: role, index, kind, png (bytes), a row an image and kind.

    Args:
        path: the file.
        columns: kind (input, truth, original, unlearned) to images (n, 3, H, W) in [0, 1].
        rows: the role of each of the n images.
        index: the place of each image in its test set; the same for every trial of a sweep.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    pixels = {kind: to_pixels(images) for kind, images in columns.items()}
    records = [
        {"role": role, "index": int(number), "kind": kind, "png": _png(images[i])}
        for i, (role, number) in enumerate(zip(rows, index, strict=True))
        for kind, images in pixels.items()
    ]
    schema = pa.schema(
        [("role", pa.string()), ("index", pa.int64()), ("kind", pa.string()), ("png", pa.binary())]
    )
    pq.write_table(pa.Table.from_pylist(records, schema=schema), path)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
