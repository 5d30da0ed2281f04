"""Shows the variants of a comparison in tables: as default and as chosen, and against Ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from analysis.comparisons import Comparison, Member
from analysis.criterion import Criterion, role_columns
from analysis.seed_groups import SeedGroup
from analysis.selection import chosen, figures
from analysis.statistics import Estimate, paired, ranks
from analysis.tables_io import Column, Table


def main_table(comparison: Comparison, criterion: Criterion) -> Table:
    """Makes the table of each variant's default and chosen trials, measured on test images."""
    rows = [row for member in comparison.members for row in _rows(member, criterion)]
    _add_ranks(rows)
    retrained = comparison.reference("retrained") is not None
    notes = [
        "Mean over seeds [95 % interval by Student's t over seeds]; one seed has no interval.",
        criterion.networks,
        "IS: mean ± standard deviation over its splits, which is no interval over seeds.",
        f"Chosen: highest forget {criterion.fid} on validation images among the trials whose "
        f"retain {criterion.fid} there is at most {1 + criterion.tolerance:.2f} of the "
        "original's. All figures are of test images.",
        "Rank: of the chosen trials, by forget distance, the highest first"
        + ("; and by its gap to the retrained model's, the smallest first." if retrained else "."),
    ]
    if retrained:
        notes.append(
            "Gap: |forget distance - that of the model retrained without the forget classes|. A "
            "forget distance far above the retrained model's is damage, not forgetting."
        )
    else:
        notes.append(
            "No retrained reference was run: nothing here tells forgetting from mere damage."
        )
    return Table(
        name=f"{comparison.stem}_comparison",
        caption=f"{comparison.title}: variants on test images",
        columns=_columns(criterion, retrained=retrained),
        rows=rows,
        notes=tuple(notes),
    )


def _columns(criterion: Criterion, *, retrained: bool) -> tuple[Column, ...]:
    measured = criterion.distance_columns()
    if retrained:
        measured.append(Column(key="gap", heading="gap to retrained ↓", kind="estimate"))
    measured.append(Column(key="rank_forget", heading="rank, forget", kind="integer"))
    if retrained:
        measured.append(Column(key="rank_gap", heading="rank, gap", kind="integer"))
    if criterion.has_kernel:
        measured += role_columns("kid", "KID", "kid", form=".4f")
    measured += role_columns("is", criterion.short("is"), "is", spread="is_split_std")
    measured += role_columns("cosine", criterion.short("clip"), "clip", form=".4f")
    return (
        Column(key="variant", heading="Variant"),
        Column(key="trial", heading="Trial"),
        Column(key="forget_alpha", heading="α", kind="number", form=".3g"),
        Column(key="lr", heading="rate", kind="number", form=".2g"),
        Column(key="seeds", heading="seeds", kind="integer"),
        *measured,
    )


def _rows(member: Member, criterion: Criterion) -> list[dict[str, Any]]:
    variant, default = member.variant, member.default
    start = {"variant": variant.label}
    if not member.trials:
        causes = dict.fromkeys(str(row["failure"] or row["state"]) for row in variant.trials)
        return [start | {"trial": f"no trial finished: {', '.join(causes)}"}]
    if variant.is_reference:
        return [start | {"trial": "reference"} | figures(default or member.seed_groups[0])]
    best = chosen(member, criterion.tolerance)
    if best is None:
        none = {"trial": f"none of {len(member.candidates)} kept the retain set"}
        own = [] if default is None else [start | {"trial": "default"} | figures(default)]
        return [*own, start | none]
    text = f"chosen: {best.first.row['name']}"
    if best is default:
        text = "default, also chosen"
    rows = [start | {"trial": text, "chosen": True} | figures(best)]
    if default is not None and best is not default:
        rows.insert(0, start | {"trial": "default"} | figures(default))
    return rows


def _add_ranks(rows: Iterable[dict[str, Any]]) -> None:
    ranked = [row for row in rows if row.get("chosen")]
    for name, key, highest in (("rank_forget", "forget_fd", True), ("rank_gap", "gap", False)):
        values = [None if row[key] is None else row[key].mean for row in ranked]
        for row, rank in zip(ranked, ranks(values, highest_first=highest), strict=True):
            row[name] = rank


def against_ours(comparison: Comparison, criterion: Criterion) -> Table | None:
    """Makes the table of paired differences to Ours over common seeds; None without any pair."""
    ours = comparison.ours
    if ours is None or len(comparison.contenders) < 2:
        return None
    rows = [
        row
        for member in comparison.contenders
        if member is not ours
        for row in _difference_rows(member, ours, criterion)
    ]
    if not rows:
        return None
    retrained = comparison.reference("retrained") is not None
    gap = Column(key="gap", heading="Δ gap to retrained", kind="estimate", form="+.2f")
    return Table(
        name=f"{comparison.stem}_against_ours",
        caption=f"{comparison.title}: paired differences to {ours.variant.label} on test images",
        columns=(
            Column(key="variant", heading="Variant"),
            Column(key="trial", heading="Trials"),
            Column(key="seeds", heading="common seeds", kind="integer"),
            Column(
                key="retain_fd", heading=f"Δ retain {criterion.fid}", kind="estimate", form="+.2f"
            ),
            Column(
                key="forget_fd", heading=f"Δ forget {criterion.fid}", kind="estimate", form="+.2f"
            ),
            *([gap] if retrained else []),
        ),
        rows=rows,
        notes=(
            f"The variant minus {ours.variant.label}, seed by seed: mean [95 % interval by "
            "Student's t]. Where an interval holds 0, no difference is shown. The intervals are "
            "not widened for the number of comparisons.",
            *(
                ["One common seed: a difference, and no interval."]
                if any(row["seeds"] == 1 for row in rows)
                else []
            ),
        ),
    )


def _difference_rows(
    member: Member, ours: Member, criterion: Criterion
) -> Iterator[dict[str, Any]]:
    """Yields the rows of a variant: its default and its chosen trials, where both have them."""
    for trial, first, second in (
        ("default", member.default, ours.default),
        ("chosen", chosen(member, criterion.tolerance), chosen(ours, criterion.tolerance)),
    ):
        if first is not None and second is not None:
            yield {"variant": member.variant.label, "trial": trial, **_minus(first, second)}


def _minus(first: SeedGroup, second: SeedGroup) -> dict[str, Any]:
    metrics = {"retain_fd": "retain/fid", "forget_fd": "forget/fid", "gap": "gap"}
    found = {key: difference(first, second, metric) for key, metric in metrics.items()}
    distance = found["forget_fd"]
    return {**found, "seeds": 0 if distance is None else distance.n}


def difference(first: SeedGroup, second: SeedGroup, metric: str) -> Estimate | None:
    """Returns the paired difference of two seed groups in a metric, over their common seeds."""
    return paired(first.by_seed(metric), second.by_seed(metric))


def seeds_table(comparison: Comparison, criterion: Criterion) -> Table | None:
    """Makes the table of each seed of the main table's trials; None where all have one seed."""
    rows: list[dict[str, Any]] = []
    for member in comparison.contenders:
        for text, group in _shown(member, criterion.tolerance):
            if len(group.trials) < 2:
                continue
            rows += [
                {
                    "variant": member.variant.label,
                    "trial": text,
                    "seed": trial.row["seed"],
                    "retain_fd": trial.value("retain/fid"),
                    "forget_fd": trial.value("forget/fid"),
                }
                for trial in group.trials
            ]
    if not rows:
        return None
    return Table(
        name=f"{comparison.stem}_seeds",
        caption=f"{comparison.title}: each seed on test images",
        columns=(
            Column(key="variant", heading="Variant"),
            Column(key="trial", heading="Trial"),
            Column(key="seed", heading="seed", kind="integer"),
            *criterion.distance_columns("number"),
        ),
        rows=rows,
    )


def _shown(member: Member, tolerance: float) -> Sequence[tuple[str, SeedGroup]]:
    best = chosen(member, tolerance)
    own = [("default", member.default), ("chosen", best if best is not member.default else None)]
    return [(text, group) for text, group in own if group is not None]
