"""Runs an analysis from its command line: NAME, --storage, --out, --debug, which all share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.provenance import Provenance, provenance
from platform.storage.address import fetch_sweep, push_folder
from platform.storage.sweep_folder import RecordError, Sweep, read_sweep
from platform.storage.trial_files import describe_lost
from platform.storage.variants import Row, Variant, variants
from trainables.evaluation.figures import save_figure
from trainables.utils.errors import FINISHED, exit_status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Shown = tuple[Variant, Row]
_REMEDY = "python -m platform.sweep with --repair, --name and --storage runs such trials again"


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """One analysis of one sweep: what it reads, and where it writes.

    Attributes:
        sweep: the recorded sweep.
        out: the folder to write to; it exists.
        best: show each variant's best feasible trial in place of its default.
        options: the values of the command line's options, by their names.
    """

    sweep: Sweep
    out: Path
    best: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def source(self) -> Provenance:
        """Where the numbers of every file come from."""
        return provenance(self.sweep)

    def save(self, figure: Figure, stem: str) -> list[Path]:
        """Writes `STEM.png` and `.pdf`, whose metadata say where they come from."""
        paths = [self.out / f"{stem}.{suffix}" for suffix in ("png", "pdf")]
        save_figure(figure, paths, about=self.source.line)
        return paths

    def variants(self) -> list[Variant]:
        """Returns the sweep's variants, in the order of its plan."""
        order = [group["label"] for group in self.sweep.plan.get("groups", ())]
        return variants(self.sweep.rows(), order)

    def shown(self, variants: Iterable[Variant]) -> list[Shown]:
        """Returns each variant with the trial to show: its default, or with `best` its best.

        Raises:
            RecordError: no variant has such a trial.
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
        """Words for the trials that are shown, for a title."""
        return "best feasible trials" if self.best else "trials at the defaults"

    def by_model(self) -> dict[str, list[Variant]]:
        """Returns the variants of each model."""
        models: dict[str, list[Variant]] = {}
        for variant in self.variants():
            models.setdefault(variant.model, []).append(variant)
        return models


def run(
    program: str,
    description: str,
    work: Callable[[Analysis], Iterable[Path]],
    argv: Sequence[str] | None,
    *,
    offers_best: bool = False,
    add_options: Callable[[argparse.ArgumentParser], None] | None = None,
) -> int:
    """Parses the command line, does the work and prints the paths that it wrote.

    Args:
        program: the module, such as `analysis.tables`.
        description: a line for `--help`.
        work: writes files and returns their paths.
        argv: the arguments; None takes those of the process.
        offers_best: whether the command line has the option `--best`.
        add_options: adds further options to the parser.

    Returns:
        The exit status, as `exit_status` gives it; a file that cannot be used is a mistake of the
        user.
    """
    parser = _parser(program, description, offers_best=offers_best)
    if add_options is not None:
        add_options(parser)
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has printed the help or the fault
        return int(stop.code or 0)
    return exit_status(lambda: _write(options, work), debug=options.debug, mistakes=(OSError,))


def _write(options: argparse.Namespace, work: Callable[[Analysis], Iterable[Path]]) -> int:
    sweep = read_sweep(fetch_sweep(options.storage, options.name), options.name)
    out = options.out or sweep.folder / "analysis"
    out.mkdir(parents=True, exist_ok=True)
    best = getattr(options, "best", False)
    for path in work(Analysis(sweep=sweep, out=out, best=best, options=vars(options))):
        sys.stdout.write(f"{path}\n")
    push_folder(out)
    lost = sweep.lost_files()
    if lost:
        sys.stderr.write(f"note: files are gone or altered: {describe_lost(lost)}; {_REMEDY}\n")
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
