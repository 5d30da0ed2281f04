"""Sums up a sweep on the terminal: the table of variants, and where the time of trials went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from platform.plan.plan import Plan
from platform.search.trial_record import Entry
from platform.storage.ranking import is_feasible
from platform.storage.variants import Row, Variant, failures, metric_labels, variants
from trainables.utils.text import counted, duration

_HEADS = ("", "retain", "forget", "retain", "forget", "alpha", "rate", "pictures")
_PARTS = {
    "train_s": "unlearning",
    "evaluation_s": "completing and measuring",
    "artifacts_s": "pictures and weights",
}


def summary(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Returns a table of the variants: each at its defaults, and its best feasible trial.

    Args:
        plan: the sweep.
        rows: the rows of `results.parquet`.
    """
    shown = variants(rows, [group.label for group in plan.groups])
    if not any(variant.finished for variant in shown):
        return [failures(rows) or "No trial has ended."]
    table = [_cells(variant, several=len({each.model for each in shown}) > 1) for variant in shown]
    every = [_HEADS, *table]
    widths = [max(len(row[column]) for row in every) for column in range(len(_HEADS))]
    gap = "  "
    own = len(gap.join("x" * width for width in widths[1:3]))
    best = len(gap.join("x" * width for width in widths[3:7]))
    above = gap.join(
        ["".ljust(widths[0]), "at its defaults".center(own), "best feasible".center(best)]
    )
    name = metric_labels(rows)["fid"]
    tolerance = plan.groups[0].config.evaluation.retain_tolerance
    lines = [
        f"{name} of the test images; good is low on retain and high on forget.",
        f"Chosen on validation: retain {name} at most {1 + tolerance:.2f} of the original's, then "
        "the highest forget.",
        *_grey(shown),
        "",
        above.rstrip(),
        *(_line(row, widths) for row in every),
        *_star(table),
    ]
    lost = failures(rows)
    return [*lines, *([lost] if lost else [])]


def _star(table: Sequence[Sequence[str]]) -> list[str]:
    """Explains the star after a variant, where there is one."""
    starred = any(row[0].endswith("*") for row in table)
    return ["", "* keeps too little of the retain set, on validation"] if starred else []


def _grey(shown: Sequence[Variant]) -> list[str]:
    """Compares a completion that knows nothing with the original: how far forgetting can go."""
    originals = [variant for variant in shown if variant.is_original]
    found = [
        f"{row['grey/forget/fid'] / row['forget/fid']:.1f} times the original's forget"
        + (f" of {variant.model}" if len({each.model for each in shown}) > 1 else "")
        for variant, row in ((each, each.default) for each in originals)
        if row is not None and row.get("grey/forget/fid")
    ]
    return [f"A flat grey completion scores {', '.join(found)}."] if found else []


def _cells(variant: Variant, *, several: bool) -> tuple[str, ...]:
    label = f"{variant.model}: {variant.label}" if several else variant.label
    own, best = variant.default, None if variant.is_reference else variant.best
    mark = "" if own is None or variant.is_reference or is_feasible(own["val/violation"]) else "*"
    pictures = best or own
    lacking = "failed" if _has_failed_default(variant) else "to run"
    if best is not None:
        chosen = (*_figures(best), f"{best['forget_alpha']:.3g}", f"{best['lr']:.2g}")
    elif variant.is_reference:
        chosen = ("", "", "", "")
    else:
        chosen = ("none", f"of {len(variant.finished)}", "", "")
    return (
        label + mark,
        *(_figures(own) if own is not None else (lacking, "")),
        *chosen,
        f"trials/{pictures['name']}/samples.png" if pictures is not None else "",
    )


def _has_failed_default(variant: Variant) -> bool:
    return any(row["kind"] == "default" and row["state"] == "failed" for row in variant.trials)


def _figures(row: Row) -> tuple[str, str]:
    return f"{row['retain/fid']:.1f}", f"{row['forget/fid']:.1f}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    texts = (0, len(widths) - 1)
    return "  ".join(
        cell.ljust(width) if column in texts else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ).rstrip()


def trial_times(entries: Iterable[Entry]) -> list[str]:
    """Tells what the finished trials of each model spent their time on, a line a model."""
    by_model: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.state == "finished":
            by_model.setdefault(entry.trial.config.model, []).append(entry)
    return [_time_of(model, finished) for model, finished in by_model.items()]


def _time_of(model: str, entries: list[Entry]) -> str:
    whole = sum(entry.duration_s for entry in entries)
    spent = {
        text: sum(float(entry.result["timing"].get(part, 0.0)) for entry in entries)
        for part, text in _PARTS.items()
    }
    shares = [f"{text} {seconds / max(whole, 1e-9):.0%}" for text, seconds in spent.items()]
    mean = duration(whole / len(entries))
    return f"  {model}: {counted(len(entries), 'trial')}, {mean} each ({', '.join(shares)})"
