"""Writes the files of a report and turns each into the block that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from analysis import cli
from analysis.page import Block, Listed, Picture, Text
from analysis.tables_io import Table, write_table
from platform.tracking.recorder import RecordError


class Writer:
    """Keeps account of every file of one report.

    Args:
        request: the sweep, and the folder to write to.

    Attributes:
        request: as given.
        files: what was written so far.
    """

    def __init__(self, request: cli.Request) -> None:
        self.request = request
        self.files: list[Path] = []

    def table(self, table: Table) -> Listed:
        """Writes a table in its four formats."""
        paths = write_table(self.request.out, table, self.request.source)
        self.files += paths
        return Listed(table=table, files=[path.name for path in paths])

    def figure(self, figure: Figure, stem: str, alt: str, caption: str) -> Picture:
        """Writes a figure as PNG and PDF."""
        return self._picture(self.request.save(figure, stem), alt, caption)

    def made_by(
        self,
        write: Callable[[cli.Request], Iterable[Path]],
        request: cli.Request,
        alt: str,
        caption: str,
    ) -> list[Block]:
        """The pictures of another analysis, or the line on why it has none.

        Args:
            write: writes files and returns their paths.
            request: what it is asked for.
            alt: what each picture shows; its file's name follows.
            caption: below each.
        """
        try:
            paths = list(write(request))
        except RecordError as error:
            return [Text(text=f"Not shown: {error}.")]
        self.files += [path for path in paths if path.suffix not in (".png", ".pdf")]
        stems = dict.fromkeys(path.stem for path in paths if path.suffix == ".png")
        return [
            self._picture(
                [path for path in paths if path.stem == stem and path.suffix in (".png", ".pdf")],
                f"{alt}: {stem}",
                caption,
            )
            for stem in stems
        ]

    def _picture(self, paths: Sequence[Path], alt: str, caption: str) -> Picture:
        self.files += paths
        drawn = next(path for path in paths if path.suffix == ".png")
        names = [path.name for path in paths]
        return Picture(path=drawn, alt=alt, caption=caption, files=names)
