"""The verdict, in sentences that are computed from the data: does Ours beat the baselines?"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.comparison import difference
from analysis.comparisons import Contest, Entrant, Point
from analysis.selection import Named, chosen, percent

Kept = Sequence[tuple[Entrant, Point]]
_ONE_SEED = "One common seed gives no interval: the difference may be chance."


def verdict(contests: Sequence[Contest], named: Named) -> list[str]:
    """First the answer, over all contests where there are several; then what it rests on."""
    answers = [_answer(contest, named) for contest in contests]
    more = [(contest, _more(contest, named)) for contest in contests]
    further = [f"{_start(contest, contests)}{text}" for contest, text in more if text]
    criterion = (
        "Criterion: each variant's trial is chosen on validation images, as the one of the "
        f"highest forget {named.fid} among those whose retain {named.fid} is at most "
        f"{1 + named.tolerance:.2f} of the original's; compared is its forget {named.fid} on test "
        f"images. {named.networks}"
    )
    if len(contests) == 1:
        return [answers[0][1], *further, criterion]
    compared = sum(
        any(entrant.row["method"] != "ours" for entrant in contest.contenders)
        for contest in contests
    )
    won = sum(beats for beats, _ in answers)
    head = f"Ours beats the baselines in {won} of {compared} comparisons."
    if not compared:
        head = "No baseline was run beside Ours: what was enumerated is compared below."
    told = [
        f"{contest.title}: {text}" for contest, (_, text) in zip(contests, answers, strict=True)
    ]
    return [head, *told, *further, criterion]


def _start(contest: Contest, contests: Sequence[Contest]) -> str:
    return f"{contest.title}: " if len(contests) > 1 else ""


def _answer(contest: Contest, named: Named) -> tuple[bool, str]:
    """Whether Ours beats the baselines, and what is to be said."""
    judged = [entrant for entrant in contest.contenders if entrant.candidates]
    found = [(entrant, chosen(entrant, named.tolerance)) for entrant in judged]
    kept = [(entrant, point) for entrant, point in found if point is not None]
    if not contest.contenders:
        return False, "No answer: no method that unlearns was run."
    if not judged:
        reason = "no original finished" if not contest.reference("original") else "none finished"
        return False, f"No answer: {reason}, so nothing tells who kept the retain set."
    if not kept:
        return False, (
            f"None of {len(judged)} variants kept the retain set within {percent(named.tolerance)} "
            f"of the original's on validation, so none is better than another."
        )
    return _compare(contest, judged, kept)


def _more(contest: Contest, named: Named) -> str:
    """What the answer leaves out: the other criterion, and variants without a trial."""
    found = [(entrant, chosen(entrant, named.tolerance)) for entrant in contest.contenders]
    kept = [(entrant, point) for entrant, point in found if point is not None]
    lost = [entrant.variant.label for entrant in contest.contenders if not entrant.trials]
    ended = f"No trial of {' and of '.join(lost)} finished." if lost else ""
    return " ".join(filter(None, [_nearest(contest, kept), ended]))


def _compare(contest: Contest, judged: Sequence[Entrant], kept: Kept) -> tuple[bool, str]:
    """Ours against the baselines.

    Args:
        contest: of all of them.
        judged: the variants that were measured.
        kept: those with a chosen point.
    """
    ours = contest.ours
    leader = f"Of the others, {_told(_first(kept))} forgets most."
    if ours is None or not ours.candidates:
        return False, f"No answer: Ours has no finished trial. {leader}"
    name = ours.variant.label
    mine = next((pair for pair in kept if pair[0] is ours), None)
    if mine is None:
        return (
            False,
            f"{name} does not beat the baselines: it did not keep the retain set. {leader}",
        )
    baselines = [entrant for entrant in judged if entrant.row["method"] != "ours"]
    others = [pair for pair in kept if pair[0] in baselines]
    if not baselines:
        return False, f"No answer: no baseline was measured beside {name}."
    if not others:
        return True, (
            f"{name} beats the baselines: of {len(baselines)} measured none kept the retain set; "
            f"{_told(mine)}."
        )
    return _against(mine, others)


def _against(mine: tuple[Entrant, Point], others: Kept) -> tuple[bool, str]:
    """Ours against baselines that kept the retain set, as it did."""
    name, best = mine[0].variant.label, _first(others)
    told = (
        f"{_told(mine)} against {_told(best)}, the best of {len(others)} that kept the retain set"
    )
    gap = difference(mine[1], best[1], "forget/fid")
    if _mean(best[1]) >= _mean(mine[1]):
        text = f"{name} does not beat the baselines: {told}."
        if gap is None or gap.low is None or gap.high is None:
            return False, f"{text} {_ONE_SEED}"
        return False, (
            f"{text} {name} minus {best[0].variant.label} over {gap.n} common seeds is "
            f"{gap.mean:+.1f} [{gap.low:+.1f}, {gap.high:+.1f}], which "
            f"{'is beyond chance' if gap.high < 0 else 'may be chance'}."
        )
    gaps = [difference(mine[1], point, "forget/fid") for _, point in others]
    lows = [each.low for each in gaps if each is not None and each.low is not None]
    if len(lows) < len(others):
        return True, f"{name} beats the baselines in this run: {told}. {_ONE_SEED}"
    sure = sum(low > 0 for low in lows)
    if sure == len(others):
        return True, f"{name} beats the baselines, each beyond chance: {told}."
    return False, (
        f"{name} has the highest mean, but beats only {sure} of {len(others)} baselines beyond "
        f"chance: {told}."
    )


def _first(pairs: Kept) -> tuple[Entrant, Point]:
    return max(pairs, key=lambda pair: _mean(pair[1]))


def _told(pair: tuple[Entrant, Point]) -> str:
    """Such as `Ours (forget 8.0, 4.2 times the original's; retain 1.08 times)`."""
    entrant, point = pair
    parts = []
    for role in ("forget", "retain"):
        own = point.estimate(f"{role}/fid")
        original = point.first.original.get(f"{role}/fid")
        if own is not None:
            times = f", {own.mean / original:.2f} times the original's" if original else ""
            parts.append(f"{role} {own.mean:.1f}{times}")
    return f"{entrant.variant.label} ({'; '.join(parts)})"


def _nearest(contest: Contest, kept: Kept) -> str:
    """Who is nearest to the retrained model, where there is one, beside doing nothing."""
    untouched = contest.reference("original")
    own = None if untouched is None else untouched.points[0].estimate("gap")
    original = None if own is None else own.mean
    gaps = [(entrant, point.estimate("gap")) for entrant, point in kept]
    known = [(gap.mean, entrant.variant.label) for entrant, gap in gaps if gap is not None]
    if not known:
        return ""
    gap, nearest = min(known)
    text = (
        "By the other criterion, how near the forget distance comes to that of the model retrained "
        f"without the forget classes, {nearest} is best, {gap:.1f} away"
    )
    if original is None:
        return f"{text}."
    least = "; so by this measure no variant is better than doing nothing" * (original <= gap)
    return f"{text}. The original itself is {original:.1f} away{least}."


def _mean(point: Point) -> float:
    estimate = point.estimate("forget/fid")
    return float("-inf") if estimate is None else estimate.mean
