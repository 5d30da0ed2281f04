"""Makes the sections of a report, each of texts, tables and figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from analysis import ablation, cli, overview, samples, tsne
from analysis.axes import axis_figure, axis_table, enumerated_axes
from analysis.comparisons import Comparison, find_comparisons
from analysis.criterion import Criterion
from analysis.importance import LEAST, importance_figure, importance_table
from analysis.main_tables import against_ours, main_table, seeds_table
from analysis.page import Block, Facts, Heading, Text
from analysis.paper import paper_table, read_published
from analysis.pareto import front_figure, front_table
from analysis.seed_groups import SeedGroup
from analysis.selection import agreement, choices, chosen
from analysis.tasks import task_axes
from analysis.verdict import verdict
from analysis.writer import Writer
from platform.storage.sweep_folder import RecordError
from platform.storage.variants import Row, metric_labels

_MOST_COMPARISONS = 4  # that are shown of one model; of more, the axes say more


class ReportSections:
    """Makes the sections of one report.

    Args:
        analysis: the sweep, and the folder to write to.

    Raises:
        RecordError: no trial has finished.
        UserError: the file of published numbers cannot be used.
    """

    def __init__(self, analysis: cli.Analysis) -> None:
        self.analysis, self.sweep = analysis, analysis.sweep
        self.writer = Writer(analysis)
        self.rows = analysis.sweep.rows()
        self.variants = analysis.variants()
        finished = [row for row in self.rows if row["state"] == "finished"]
        if not finished:
            raise RecordError(f"sweep {analysis.sweep.name!r} has no finished trial to report")
        self.every = find_comparisons(analysis.sweep, self.variants)
        tolerances = (
            comparison.config.get("evaluation.retain_tolerance") for comparison in self.every
        )
        self.criterion = Criterion(
            labels=metric_labels(self.rows),
            tolerance=next((float(each) for each in tolerances if each is not None), 0.10),
            has_kernel=any(row.get("retain/kid_mean") is not None for row in finished),
        )
        self.shown: list[Comparison] = []
        for model in analysis.by_model():
            own = self.of_model(model)
            self.shown += own if len(own) <= _MOST_COMPARISONS else own[:1]
        paper = analysis.options.get("paper")
        self.published = None if paper is None else read_published(paper, self.variants, self.rows)

    def of_model(self, model: str) -> list[Comparison]:
        """Returns the comparisons of a model."""
        return [comparison for comparison in self.every if comparison.model == model]

    def registered(self) -> list[Row]:
        """Returns the trial of each variant whose model is registered as its best."""
        groups: dict[str, SeedGroup] = {}
        for comparison in self.every:
            for member in comparison.contenders:
                group = chosen(member, self.criterion.tolerance)
                if group is not None:
                    groups.setdefault(member.variant.group, group)
        return [group.first.row for group in groups.values()]

    def sections(self) -> Iterator[tuple[str, str, Iterator[Block]]]:
        """Yields title, anchor and blocks of each section, in their order."""
        yield "The question and the verdict", "verdict", self.verdict()
        yield "The plan", "plan", self.plan()
        yield "Variants compared", "comparison", self.comparison()
        yield "Forget against retain distance", "front", self.front()
        yield "Choice under retain constraints", "choice", self.choice()
        yield "The weight of the forget term", "alpha", self.alpha()
        yield "Along what was enumerated", "axes", self.axes()
        yield "Importance of hyperparameters", "importance", self.importance()
        yield "t-SNE of embeddings", "tsne", self.tsne()
        yield "Completions side by side", "samples", self.samples()
        yield "Failures", "failures", self.failures()
        yield "Environment", "environment", self.environment()
        yield "The paper's numbers", "paper", self.paper()

    def verdict(self) -> Iterator[Block]:
        """Yields what was asked, and the answer that the data give."""
        yield Text(text=f"Question: {self.sweep.plan.get('question') or 'not recorded'}")
        lines = verdict(self.shown, self.criterion)
        yield Text(text=lines[0], strong=True)
        for line in lines[1:]:
            yield Text(text=line)
        yield Text(
            text="What is reported was chosen on validation images and measured on test images. "
            "The spread of an Inception Score is over its splits; intervals are over seeds."
        )
        if any(comparison.config.get("data.source") == "photos" for comparison in self.every):
            yield Text(
                text="The data are crops of a few photographs a role: they compare methods on "
                "these photographs and support no claim about classes in general."
            )

    def plan(self) -> Iterator[Block]:
        """Yields what was run."""
        facts = overview.plan_facts(self.sweep, self.variants, self.every, self.criterion)
        yield Facts(items=facts)
        data = overview.data_table(self.sweep)
        if data is not None:
            yield self.writer.table(data)

    def comparison(self) -> Iterator[Block]:
        """Yields the main table of each comparison, and what Ours differs by."""
        for comparison in self.shown:
            tables = (
                main_table(comparison, self.criterion),
                against_ours(comparison, self.criterion),
                seeds_table(comparison, self.criterion),
            )
            yield Heading(title=comparison.title)
            yield from (self.writer.table(table) for table in tables if table is not None)
        if len(self.shown) < len(self.every):
            yield Text(
                text=f"{len(self.every) - len(self.shown)} more settings of the measuring were "
                "run; what changes along them is shown below, under what was enumerated."
            )

    def front(self) -> Iterator[Block]:
        """Yields what each variant trades."""
        yield Text(
            text="Every finished trial is a point; a variant's line joins those that none of its "
            "own beats in both. The fronts are drawn on test images and describe; nothing is "
            "chosen by them."
        )
        for comparison in self.shown:
            if not any(
                trial.log_ratios() for member in comparison.contenders for trial in member.trials
            ):
                yield Text(text=f"{comparison.title}: no original to hold trials against.")
                continue
            yield self.writer.figure(
                front_figure(comparison, self.criterion),
                f"{comparison.stem}_front",
                f"Scatter of forget against retain distance of {comparison.title}, by variant",
                f"{comparison.title}: upper left is better in both.",
            )
            yield self.writer.table(front_table(comparison))

    def choice(self) -> Iterator[Block]:
        """Yields the trial that each variant is chosen by, at three limits."""
        for comparison in self.shown:
            yield self.writer.table(choices(comparison, self.criterion))
            yield Text(text=agreement(comparison))

    def alpha(self) -> Iterator[Block]:
        """Yields the figures of `analysis.ablation`."""
        yield from self.writer.made_by(
            ablation.write_curves,
            self.analysis,
            "forget_alpha against retain and forget distance",
            "A point a finished trial; filled where it kept the retain set on validation.",
        )

    def axes(self) -> Iterator[Block]:
        """Yields what changes along enumerated fields, and over further test tasks."""
        found = [
            axis
            for model in self.analysis.by_model()
            for axis in enumerated_axes(model, self.of_model(model))
        ]
        found += [
            axis for comparison in self.shown for axis in task_axes(comparison, self.criterion)
        ]
        if not any(axis.lines for axis in found):
            yield Text(text="No field was enumerated within a variant, and one task was tested.")
        for axis in (axis for axis in found if axis.lines):
            if axis.is_drawn:
                yield self.writer.figure(
                    axis_figure(axis, self.criterion),
                    axis.stem,
                    f"Retain and forget distance, {axis.title}",
                    f"{axis.title}. Bars: 95 % interval over seeds, where there are several.",
                )
            yield self.writer.table(axis_table(axis, self.criterion))

    def importance(self) -> Iterator[Block]:
        """Yields the importance of the fields that were searched."""
        tables = [importance_table(comparison, self.sweep) for comparison in self.shown]
        if not any(tables):
            yield Text(text=f"No variant has {LEAST} finished search trials.")
        for table in (table for table in tables if table is not None):
            yield self.writer.figure(
                importance_figure(table),
                table.name,
                f"Shares of variance that each field explains: {table.caption}",
                f"{table.caption}.",
            )
            yield self.writer.table(table)

    def tsne(self) -> Iterator[Block]:
        """Yields the figures of `analysis.tsne`."""
        yield from self.writer.made_by(
            tsne.write_figures,
            self.analysis,
            "t-SNE of embeddings by variant",
            "Hollow: the original's completions; filled: the unlearned model's. Distances between "
            "panels mean nothing.",
        )

    def samples(self) -> Iterator[Block]:
        """Yields the pictures of `analysis.samples`, at the defaults and of the best trials."""
        tuned = dataclasses.replace(self.analysis, best=True)
        for analysis, text in (
            (self.analysis, "Trials at the defaults."),
            (tuned, "Each variant's best feasible trial; a variant without one is left out."),
        ):
            yield from self.writer.made_by(
                samples.write_pictures, analysis, "Completions of the same test images", text
            )

    def failures(self) -> Iterator[Block]:
        """Yields what did not finish, and why, and what has lost its files since."""
        table = overview.failures_table(self.rows)
        if table is None:
            yield Text(text=f"All {len(self.rows)} trials finished.")
        else:
            yield self.writer.table(table)
        lost = overview.lost_files_table(self.sweep.lost_files())
        if lost is not None:
            yield self.writer.table(lost)

    def environment(self) -> Iterator[Block]:
        """Yields what the sweep ran on."""
        if self.sweep.environment:
            yield self.writer.table(overview.environment_table(self.sweep.environment))
        else:
            yield Text(text="The sweep has no environment.json.")

    def paper(self) -> Iterator[Block]:
        """Yields published numbers beside ours."""
        if self.published is None:
            yield Text(
                text="None were given: --paper FILE takes a CSV of model,variant,metric,value."
            )
        else:
            yield self.writer.table(paper_table(self.published, self.every, self.criterion))
