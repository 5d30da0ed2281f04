"""Writes the files of a report and turns each into the block that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from analysis import cli
from analysis.page import Block, Picture, TableBlock, Text
from analysis.tables_io import Table, write_table
from platform.storage.sweep_folder import RecordError


class Writer:
    """Writes the files of one report, and keeps account of them.

    Args:
        analysis: the sweep, and the folder to write to.

    Attributes:
        analysis: the same.
        files: the files that were written so far.
    """

    def __init__(self, analysis: cli.Analysis) -> None:
        self.analysis = analysis
        self.files: list[Path] = []

    def table(self, table: Table) -> TableBlock:
        """Writes a table in four formats and returns the block that shows it."""
        paths = write_table(self.analysis.out, table, self.analysis.source)
        self.files += paths
        return TableBlock(table=table, files=[path.name for path in paths])

    def figure(self, figure: Figure, stem: str, alt: str, caption: str) -> Picture:
        """Writes a figure as PNG and PDF and returns the block that shows it."""
        return self._picture(self.analysis.save(figure, stem), alt, caption)

    def made_by(
        self,
        write: Callable[[cli.Analysis], Iterable[Path]],
        analysis: cli.Analysis,
        alt: str,
        caption: str,
    ) -> list[Block]:
        """Returns the pictures of another analysis, or a line on why it has none.

        Args:
            write: the other analysis: it writes files and returns their paths.
            analysis: the sweep, and the folder to write to.
            alt: what each picture shows; the name of its file follows.
            caption: the text below each.
        """
        try:
            paths = list(write(analysis))
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
