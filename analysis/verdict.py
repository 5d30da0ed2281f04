"""The verdict, in sentences that are computed from the data: does Ours beat the baselines?"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.comparison import Named, chosen, difference, percent
from analysis.measured import Contest, Entrant, Point

Kept = list[tuple[Entrant, Point]]


def verdict(contests: Sequence[Contest], named: Named) -> list[str]:
    """First the answer over all models, then a line a contest."""
    lines = [_of_contest(contest, named) for contest in contests]
    criterion = (
        f"Criterion: the highest test forget {named.labels['fid']} of the trial that each variant "
        f"is chosen by on validation images, where the retain {named.labels['fid']} may be at most "
        f"{1 + named.tolerance:.2f} of the original's."
    )
    if len(contests) == 1:
        return [lines[0][1], criterion]
    won = sum(wins for wins, _ in lines)
    head = f"Ours beats every baseline in {won} of {len(contests)} comparisons."
    told = [f"{contest.title}: {text}" for contest, (_, text) in zip(contests, lines, strict=True)]
    return [head, *told, criterion]


def _of_contest(contest: Contest, named: Named) -> tuple[bool, str]:
    """Whether Ours beats every baseline, and what is to be said."""
    found = [(entrant, chosen(entrant, named.tolerance)) for entrant in contest.contenders]
    kept = [(entrant, point) for entrant, point in found if point is not None]
    ours = contest.ours
    if not found:
        return False, "No method was run that unlearns."
    if not any(entrant.candidates for entrant, _ in found):
        return False, (
            "No answer: no original has finished beside the variants, so nothing tells whether "
            "they kept the retain set."
        )
    if not kept:
        return False, (
            f"None of the {len(found)} variants kept the retain set within "
            f"{percent(named.tolerance)} of the original's on validation: none is better than another."
        )
    if ours is None:
        return False, f"Ours was not run. {_leader(kept)}"
    mine = next((point for entrant, point in kept if entrant is ours), None)
    others = [
        (entrant, point) for entrant, point in kept if entrant.variant.group not in _forms(contest)
    ]
    if mine is None:
        text = f"{ours.variant.label} did not keep the retain set and does not beat the baselines."
        return False, f"{text} {_leader(kept)}"
    wins, text = _compare(ours, mine, others, contest)
    return wins, f"{text}{_by_gap(kept)}"


def _forms(contest: Contest) -> set[str]:
    """The groups of the paper's method in any form: none of them is a baseline."""
    return {
        entrant.variant.group
        for entrant in contest.contenders
        if entrant.trials[0].row["method"] == "ours"
    }


def _compare(ours: Entrant, mine: Point, others: Kept, contest: Contest) -> tuple[bool, str]:
    name = ours.variant.label
    baselines = len(contest.contenders) - len(_forms(contest))
    if not baselines:
        return False, f"No baseline was run beside {name}."
    if not others:
        return True, f"{name} alone kept the retain set; none of the {baselines} baselines did."
    above = [pair for pair in others if _mean(pair[1]) >= _mean(mine)]
    gaps = [difference(mine, point, "forget/fid") for _, point in others]
    several = [gap for gap in gaps if gap is not None and gap.low is not None]
    if above:
        best, point = max(above, key=lambda pair: _mean(pair[1]))
        text = (
            f"{name} does not beat the baselines: {best.variant.label} forgets most, "
            f"{_figures(point)}; {name} {_figures(mine)}."
        )
        gap = difference(mine, point, "forget/fid")
        if gap is not None and gap.low is not None and gap.high is not None:
            shown = "is beyond chance" if gap.high < 0 else "is not shown to be more than chance"
            return False, f"{text} Over {gap.n} common seeds the difference {shown}."
        return False, f"{text} One common seed: no interval, so chance is not ruled out."
    best, point = max(others, key=lambda pair: _mean(pair[1]))
    behind = f"{name} {_figures(mine)}, the best baseline {best.variant.label} {_figures(point)}."
    if len(several) < len(others):
        return True, (
            f"{name} forgets more than each of the {len(others)} baselines that kept the retain "
            f"set: {behind} One common seed: no interval, so chance is not ruled out."
        )
    sure = sum(gap.low is not None and gap.low > 0 for gap in several)
    if sure == len(others):
        return True, f"{name} beats each baseline that kept the retain set beyond chance: {behind}"
    return False, (
        f"{name} has the highest mean, but beats only {sure} of {len(others)} baselines beyond "
        f"chance: {behind}"
    )


def _leader(kept: Kept) -> str:
    best, point = max(kept, key=lambda pair: _mean(pair[1]))
    return f"Of the variants that did, {best.variant.label} forgets most: {_figures(point)}."


def _by_gap(kept: Kept) -> str:
    """Who is nearest to the retrained model, where there is one."""
    known = [
        (entrant, gap) for entrant, point in kept if (gap := point.estimate("gap")) is not None
    ]
    if not known:
        return ""
    nearest, gap = min(known, key=lambda pair: pair[1].mean)
    return (
        f" Nearest to the model retrained without the forget classes is {nearest.variant.label}, "
        f"{gap.mean:.1f} away."
    )


def _mean(point: Point) -> float:
    estimate = point.estimate("forget/fid")
    return float("-inf") if estimate is None else estimate.mean


def _figures(point: Point) -> str:
    own = point.estimate("forget/fid")
    if own is None:
        return "not measured"
    original = point.first.original.get("forget/fid")
    times = f" ({own.mean / original:.1f} times the original's)" if original else ""
    return f"{own.mean:.1f}{times}"
