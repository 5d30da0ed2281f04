"""The command line that every analysis shares: NAME, --storage, --out, --debug."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.tables_io import Provenance, provenance
from platform.tracking.recorder import (
    RecordError,
    Row,
    Sweep,
    Variant,
    fetched,
    give,
    read_sweep,
    variants,
)
from trainables.evaluation.figures import save_figure
from trainables.utils.exit_status import FINISHED, exit_status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Shown = tuple[Variant, Row]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an analysis is asked for.

    Attributes:
        sweep: the recorded sweep.
        out: the folder to write to; it exists.
        best: show each variant's best feasible trial in place of its default.
        options: the values of further options, by their names.
    """

    sweep: Sweep
    out: Path
    best: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def source(self) -> Provenance:
        """Where the numbers come from."""
        return provenance(self.sweep)

    def save(self, figure: Figure, stem: str) -> list[Path]:
        """Writes `STEM.png` and `.pdf`; each says in its metadata where it comes from."""
        paths = [self.out / f"{stem}.{suffix}" for suffix in ("png", "pdf")]
        save_figure(figure, paths, about=self.source.line)
        return paths

    def variants(self) -> list[Variant]:
        """The sweep's variants, in the order of its plan."""
        order = [group["label"] for group in self.sweep.plan.get("groups", ())]
        return variants(self.sweep.rows(), order)

    def shown(self, variants: Iterable[Variant]) -> list[Shown]:
        """Each variant with the trial that stands for it: its default, or with `best` its best.

        Raises:
            RecordError: none has such a trial.
        """
        trials = [
            (variant, variant.best if self.best and not variant.is_reference else variant.default)
            for variant in variants
        ]
        found = [(variant, row) for variant, row in trials if row is not None]
        if not found:
            raise RecordError(f"sweep {self.sweep.name!r} has no finished trial to show")
        return found

    @property
    def chosen(self) -> str:
        """Which trials are shown, for a title."""
        return "best feasible trials" if self.best else "trials at the defaults"

    def by_model(self) -> dict[str, list[Variant]]:
        """The variants of each model."""
        models: dict[str, list[Variant]] = {}
        for variant in self.variants():
            models.setdefault(variant.model, []).append(variant)
        return models


def run(
    program: str,
    description: str,
    work: Callable[[Request], Iterable[Path]],
    argv: Sequence[str] | None,
    *,
    offers_best: bool = False,
    add_options: Callable[[argparse.ArgumentParser], None] | None = None,
) -> int:
    """Parses the command line, does the work and prints the paths it wrote.

    Args:
        program: such as `analysis.tables`.
        description: a line for `--help`.
        work: writes files and returns their paths.
        argv: arguments; None for those of the process.
        offers_best: whether there is an option `--best`.
        add_options: adds further options, whose values are in the request.

    Returns:
        The exit status: 0, 1 for a fault of the program, 2 for the user's mistake.
    """
    parser = _parser(program, description, offers_best=offers_best)
    if add_options is not None:
        add_options(parser)
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has printed the help or the fault
        return int(stop.code or 0)
    return exit_status(lambda: _write(work, options), debug=options.debug, mistakes=(OSError,))


def _write(work: Callable[[Request], Iterable[Path]], options: argparse.Namespace) -> int:
    """Reads the sweep, does the work and prints the paths it wrote; returns the exit status."""
    sweep = read_sweep(fetched(options.storage, options.name), options.name)
    out = options.out or sweep.folder / "analysis"
    out.mkdir(parents=True, exist_ok=True)
    best = getattr(options, "best", False)
    request = Request(sweep=sweep, out=out, best=best, options=vars(options))
    for path in work(request):
        sys.stdout.write(f"{path}\n")
    give(out)
    return FINISHED


def _parser(program: str, description: str, *, offers_best: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    parser.add_argument("name", metavar="NAME", help="the sweep")
    parser.add_argument("--storage", default="runs", help="a folder or s3://...; default: ./runs")
    parser.add_argument("--out", type=Path, help="default: STORAGE/NAME/analysis")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    if offers_best:
        text = "show each variant's best feasible trial in place of its default"
        parser.add_argument("--best", action="store_true", help=text)
    return parser
