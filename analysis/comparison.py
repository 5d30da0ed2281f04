"""The variants of a contest in tables: at their defaults and as chosen, and against Ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from analysis.comparisons import Contest, Entrant, Point
from analysis.selection import Named, chosen, figures
from analysis.statistics import Estimate, paired, ranks
from analysis.tables_io import Column, Table


def main_table(contest: Contest, named: Named) -> Table:
    """Every variant at its defaults and as chosen on validation, measured on test images."""
    rows = [row for entrant in contest.entrants for row in _rows(entrant, named)]
    _add_ranks(rows)
    retrained = contest.reference("retrained") is not None
    notes = [
        "Mean over seeds [95 % interval by Student's t over seeds]; one seed has no interval.",
        named.networks,
        "IS: mean ± standard deviation over its splits, which is no interval over seeds.",
        f"Chosen: highest forget {named.fid} on validation images among the trials whose "
        f"retain {named.fid} there is at most {1 + named.tolerance:.2f} of the "
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
        name=f"{contest.stem}_comparison",
        caption=f"{contest.title}: variants on test images",
        columns=_columns(named, retrained=retrained),
        rows=rows,
        notes=tuple(notes),
    )


def _columns(named: Named, *, retrained: bool) -> tuple[Column, ...]:
    fid, score, cosine = (named.short(name) for name in ("fid", "is", "clip"))
    measured = [
        Column(key="retain_fd", heading=f"retain {fid} ↓", kind="estimate"),
        Column(key="forget_fd", heading=f"forget {fid} ↑", kind="estimate"),
    ]
    if retrained:
        measured.append(Column(key="gap", heading="gap to retrained ↓", kind="estimate"))
    measured.append(Column(key="rank_forget", heading="rank, forget", kind="integer"))
    if retrained:
        measured.append(Column(key="rank_gap", heading="rank, gap", kind="integer"))
    if named.has_kernel:
        measured += [
            Column(key=f"{role}_kid", heading=f"{role} KID {good}", kind="estimate", form=".4f")
            for role, good in (("retain", "↓"), ("forget", "↑"))
        ]
    for role, good in (("retain", "↑"), ("forget", "↓")):
        spread = f"{role}_is_split_std"
        measured.append(
            Column(
                key=f"{role}_is", heading=f"{role} {score} {good}", kind="estimate", spread=spread
            )
        )
    for role, good in (("retain", "↑"), ("forget", "↓")):
        heading = f"{role} {cosine} {good}"
        measured.append(Column(key=f"{role}_cosine", heading=heading, kind="estimate", form=".4f"))
    return (
        Column(key="variant", heading="Variant"),
        Column(key="trial", heading="Trial"),
        Column(key="forget_alpha", heading="α", kind="number", form=".3g"),
        Column(key="lr", heading="rate", kind="number", form=".2g"),
        Column(key="seeds", heading="seeds", kind="integer"),
        *measured,
    )


def _rows(entrant: Entrant, named: Named) -> list[dict[str, Any]]:
    variant, default = entrant.variant, entrant.default
    start = {"variant": variant.label}
    if not entrant.trials:
        causes = dict.fromkeys(str(row["failure"] or row["state"]) for row in variant.trials)
        return [start | {"trial": f"no trial finished: {', '.join(causes)}"}]
    if variant.is_reference:
        return [start | {"trial": "reference"} | figures(default or entrant.points[0])]
    best = chosen(entrant, named.tolerance)
    if best is None:
        none = {"trial": f"none of {len(entrant.candidates)} kept the retain set"}
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


def against_ours(contest: Contest, named: Named) -> Table | None:
    """Paired differences to Ours over common seeds; None where there is nothing to pair."""
    ours = contest.ours
    if ours is None or len(contest.contenders) < 2:
        return None
    rows = [
        row
        for entrant in contest.contenders
        if entrant is not ours
        for row in _differences(entrant, ours, named)
    ]
    if not rows:
        return None
    retrained = contest.reference("retrained") is not None
    gap = Column(key="gap", heading="Δ gap to retrained", kind="estimate", form="+.2f")
    return Table(
        name=f"{contest.stem}_against_ours",
        caption=f"{contest.title}: paired differences to {ours.variant.label} on test images",
        columns=(
            Column(key="variant", heading="Variant"),
            Column(key="trial", heading="Trials"),
            Column(key="seeds", heading="common seeds", kind="integer"),
            Column(key="retain_fd", heading=f"Δ retain {named.fid}", kind="estimate", form="+.2f"),
            Column(key="forget_fd", heading=f"Δ forget {named.fid}", kind="estimate", form="+.2f"),
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


def _differences(entrant: Entrant, ours: Entrant, named: Named) -> Iterator[dict[str, Any]]:
    """Of the default and of the chosen points, where both have them."""
    for trial, first, second in (
        ("default", entrant.default, ours.default),
        ("chosen", chosen(entrant, named.tolerance), chosen(ours, named.tolerance)),
    ):
        if first is not None and second is not None:
            yield {"variant": entrant.variant.label, "trial": trial, **_minus(first, second)}


def _minus(first: Point, second: Point) -> dict[str, Any]:
    found = {
        key: difference(first, second, metric)
        for key, metric in (
            ("retain_fd", "retain/fid"),
            ("forget_fd", "forget/fid"),
            ("gap", "gap"),
        )
    }
    distance = found["forget_fd"]
    return {**found, "seeds": 0 if distance is None else distance.n}


def difference(first: Point, second: Point, metric: str) -> Estimate | None:
    """Of two points in a metric, over their common seeds."""
    return paired(first.by_seed(metric), second.by_seed(metric))


def by_seed(contest: Contest, named: Named) -> Table | None:
    """Each seed of the points in the main table; None where every point has one."""
    rows: list[dict[str, Any]] = []
    for entrant in contest.contenders:
        for text, point in _shown(entrant, named.tolerance):
            if len(point.trials) < 2:
                continue
            rows += [
                {
                    "variant": entrant.variant.label,
                    "trial": text,
                    "seed": trial.row["seed"],
                    "retain_fd": trial.value("retain/fid"),
                    "forget_fd": trial.value("forget/fid"),
                }
                for trial in point.trials
            ]
    if not rows:
        return None
    return Table(
        name=f"{contest.stem}_seeds",
        caption=f"{contest.title}: each seed on test images",
        columns=(
            Column(key="variant", heading="Variant"),
            Column(key="trial", heading="Trial"),
            Column(key="seed", heading="seed", kind="integer"),
            Column(key="retain_fd", heading=f"retain {named.fid} ↓", kind="number"),
            Column(key="forget_fd", heading=f"forget {named.fid} ↑", kind="number"),
        ),
        rows=rows,
    )


def _shown(entrant: Entrant, tolerance: float) -> Sequence[tuple[str, Point]]:
    best = chosen(entrant, tolerance)
    own = [("default", entrant.default), ("chosen", best if best is not entrant.default else None)]
    return [(text, point) for text, point in own if point is not None]
