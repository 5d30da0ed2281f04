"""Computes the verdict from the data, in sentences: does Ours beat the baselines?"""

from __future__ import annotations

from collections.abc import Sequence

from analysis.comparisons import Comparison, Member
from analysis.criterion import Criterion, percent
from analysis.main_tables import difference
from analysis.seed_groups import SeedGroup
from analysis.selection import chosen

Choice = tuple[Member, SeedGroup]  # a variant with its chosen trials
_ONE_SEED = "One common seed gives no interval: the difference may be chance."


def verdict(comparisons: Sequence[Comparison], criterion: Criterion) -> list[str]:
    """Returns the answer, over all comparisons where there are several; then what it rests on."""
    answers = [_answer(comparison, criterion) for comparison in comparisons]
    more = [(comparison, _more(comparison, criterion)) for comparison in comparisons]
    several = len(comparisons) > 1
    further = [f"{each.title}: {text}" if several else text for each, text in more if text]
    rule = (
        "Criterion: each variant's trial is chosen on validation images, as the one of the "
        f"highest forget {criterion.fid} among those whose retain {criterion.fid} is at most "
        f"{1 + criterion.tolerance:.2f} of the original's; compared is its forget {criterion.fid} "
        f"on test images. {criterion.networks}"
    )
    if not several:
        return [answers[0][1], *further, rule]
    compared = sum(
        any(member.row["method"] != "ours" for member in comparison.contenders)
        for comparison in comparisons
    )
    won = sum(beats for beats, _ in answers)
    head = f"Ours beats the baselines in {won} of {compared} comparisons."
    if not compared:
        head = "No baseline was run beside Ours: what was enumerated is compared below."
    lines = [
        f"{comparison.title}: {text}"
        for comparison, (_, text) in zip(comparisons, answers, strict=True)
    ]
    return [head, *lines, *further, rule]


def _answer(comparison: Comparison, criterion: Criterion) -> tuple[bool, str]:
    """Returns whether Ours beats the baselines, and the sentences that say so."""
    judged = [member for member in comparison.contenders if member.candidates]
    kept = _choices(judged, criterion)
    if not comparison.contenders:
        return False, "No answer: no method that unlearns was run."
    if not judged:
        reason = "no original finished" if not comparison.reference("original") else "none finished"
        return False, f"No answer: {reason}, so nothing tells who kept the retain set."
    if not kept:
        return False, (
            f"None of {len(judged)} variants kept the retain set within "
            f"{percent(criterion.tolerance)} of the original's on validation, so none is better "
            "than another."
        )
    return _compare(comparison, judged, kept)


def _more(comparison: Comparison, criterion: Criterion) -> str:
    """Returns what the answer leaves out: the other criterion, and variants without a trial."""
    kept = _choices(comparison.contenders, criterion)
    lost = [member.variant.label for member in comparison.contenders if not member.trials]
    ended = f"No trial of {' and of '.join(lost)} finished." if lost else ""
    return " ".join(filter(None, [_nearest(comparison, kept), ended]))


def _choices(members: Sequence[Member], criterion: Criterion) -> list[Choice]:
    found = [(member, chosen(member, criterion.tolerance)) for member in members]
    return [(member, group) for member, group in found if group is not None]


def _compare(
    comparison: Comparison, judged: Sequence[Member], kept: Sequence[Choice]
) -> tuple[bool, str]:
    """Returns the answer where some variant kept the retain set.

    Args:
        comparison: the comparison of all of them.
        judged: the variants that were measured.
        kept: the variants that kept the retain set, with their chosen trials.
    """
    ours = comparison.ours
    leader = f"Of the others, {_described(_most_forgetful(kept))} forgets most."
    if ours is None or not ours.candidates:
        return False, f"No answer: Ours has no finished trial. {leader}"
    name = ours.variant.label
    mine = next((pair for pair in kept if pair[0] is ours), None)
    if mine is None:
        return (
            False,
            f"{name} does not beat the baselines: it did not keep the retain set. {leader}",
        )
    baselines = [member for member in judged if member.row["method"] != "ours"]
    others = [pair for pair in kept if pair[0] in baselines]
    if not baselines:
        return False, f"No answer: no baseline was measured beside {name}."
    if not others:
        return True, (
            f"{name} beats the baselines: of {len(baselines)} measured none kept the retain set; "
            f"{_described(mine)}."
        )
    return _against(mine, others)


def _against(mine: Choice, others: Sequence[Choice]) -> tuple[bool, str]:
    """Returns the answer where both Ours and baselines kept the retain set."""
    name, best = mine[0].variant.label, _most_forgetful(others)
    shown = (
        f"{_described(mine)} against {_described(best)}, the best of {len(others)} that kept the "
        "retain set"
    )
    gap = difference(mine[1], best[1], "forget/fid")
    if _mean(best[1]) >= _mean(mine[1]):
        text = f"{name} does not beat the baselines: {shown}."
        if gap is None or gap.low is None or gap.high is None:
            return False, f"{text} {_ONE_SEED}"
        return False, (
            f"{text} {name} minus {best[0].variant.label} over {gap.n} common seeds is "
            f"{gap.mean:+.1f} [{gap.low:+.1f}, {gap.high:+.1f}], which "
            f"{'is beyond chance' if gap.high < 0 else 'may be chance'}."
        )
    gaps = [difference(mine[1], group, "forget/fid") for _, group in others]
    lows = [each.low for each in gaps if each is not None and each.low is not None]
    if len(lows) < len(others):
        return True, f"{name} beats the baselines in this run: {shown}. {_ONE_SEED}"
    sure = sum(low > 0 for low in lows)
    if sure == len(others):
        return True, f"{name} beats the baselines, each beyond chance: {shown}."
    return False, (
        f"{name} has the highest mean, but beats only {sure} of {len(others)} baselines beyond "
        f"chance: {shown}."
    )


def _most_forgetful(pairs: Sequence[Choice]) -> Choice:
    return max(pairs, key=lambda pair: _mean(pair[1]))


def _described(pair: Choice) -> str:
    """Describes a choice by its figures.

    Such as `Ours (forget 26.0, 2.60 times the original's; retain 9.9, 1.02 times the original's)`.
    """
    member, group = pair
    parts = []
    for role in ("forget", "retain"):
        own = group.estimate(f"{role}/fid")
        original = group.first.original.get(f"{role}/fid")
        if own is not None:
            times = f", {own.mean / original:.2f} times the original's" if original else ""
            parts.append(f"{role} {own.mean:.1f}{times}")
    return f"{member.variant.label} ({'; '.join(parts)})"


def _nearest(comparison: Comparison, kept: Sequence[Choice]) -> str:
    """Tells which variant is nearest to the retrained model; empty where there is none."""
    untouched = comparison.reference("original")
    own = None if untouched is None else untouched.seed_groups[0].estimate("gap")
    original = None if own is None else own.mean
    gaps = [(member, group.estimate("gap")) for member, group in kept]
    known = [(gap.mean, member.variant.label) for member, gap in gaps if gap is not None]
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


def _mean(group: SeedGroup) -> float:
    estimate = group.estimate("forget/fid")
    return float("-inf") if estimate is None else estimate.mean
