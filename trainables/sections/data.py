"""Which images are used, in which roles, and what is removed from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from trainables.sections.checked import Checked
from trainables.sections.names import SourceName, TaskKind


@dataclass(frozen=True, kw_only=True)
class DataConfig(Checked):
    """Which images, in which roles.

    Attributes:
        source: `photos` (embedded in the installed packages) or `folder` (a directory of class sub-
            folders).
        root: the directory of a `folder` source.
        split_file: optional CSV `class,role` in place of the three lists.
        forget, retain, proxy: class names; empty for `photos` means the product's own split.
        image_size: side of the square images, pixels.
        seed: draws crops (`photos`) and train, validation and test splits (`folder`).
        strict: stop at an unusable image instead of leaving it out.
        train_per_class: most training images of a class.
        val_per_class, test_per_class: most validation and test images of a class.
    """

    source: SourceName = "photos"
    root: str = ""
    split_file: str = ""
    forget: tuple[str, ...] = ()
    retain: tuple[str, ...] = ()
    proxy: tuple[str, ...] = ()
    image_size: int = 32
    seed: int = 0
    strict: bool = False
    train_per_class: int = 512
    val_per_class: int = 64
    test_per_class: int = 64

    def _faults(self) -> list[tuple[bool, str]]:
        both = [
            (name, first, second)
            for first, second in (("forget", "retain"), ("forget", "proxy"), ("retain", "proxy"))
            for name in sorted(set(getattr(self, first)) & set(getattr(self, second)))
        ]
        return [
            (self.source == "folder" and not self.root, "source=folder needs data.root"),
            *self._below(8, "image_size"),
            *((True, f"{a} and data.{b} both name class {name!r}") for name, a, b in both),
            *self._below(1, "train_per_class", "val_per_class", "test_per_class"),
        ]


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

    def _faults(self) -> list[tuple[bool, str]]:
        return [(not 0.0 < self.ratio < 1.0, f"ratio={self.ratio} is outside (0, 1)")]


def parse_task(text: str) -> TaskConfig:
    """A task from `kind:ratio`, such as `centre:0.5`.

    Raises:
        ValueError: the text is no such pair.
        ConfigError: the ratio is outside of its range.
    """
    kind, _, ratio = text.partition(":")
    if kind not in get_args(TaskKind):
        raise ValueError(text)
    return TaskConfig(kind=kind, ratio=float(ratio))  # type: ignore[arg-type]
