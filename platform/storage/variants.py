"""Which trials stand for a variant, and what people call it and its figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from platform.storage.ranking import is_feasible, rank
from trainables.config import REFERENCES

Row = Mapping[str, Any]

_LABELS = {
    "original": "Original",
    "retrained": "Retrained",
    "max_loss": "Max Loss",
    "noisy_label": "Noisy Label",
    "retain_label": "Retain Label",
    "random_encoder": "Random Encoder",
    "ours": "Ours",
    "ours_proxy": "Ours, proxy",
}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The trials of one group.

    Attributes:
        group: its label in the plan, such as `ours_proxy`.
        label: its name for people, such as `Ours, proxy`.
        model: the model of its trials.
        is_original: nothing is unlearned; the other variants' figures are divided by its own.
        is_reference: the original, or a model retrained without the forget images, which shows
            what true forgetting looks like.
        default: the finished trial at the variant's defaults, where there is one.
        best: the best finished trial on validation images, where one is feasible; replicates, which
            repeat a chosen trial under another seed, do not count.
        finished: all finished trials.
        trials: all that are recorded, in any state.
    """

    group: str
    label: str
    model: str
    is_original: bool
    is_reference: bool
    default: Row | None
    best: Row | None
    finished: tuple[Row, ...]
    trials: tuple[Row, ...]


def variants(rows: Iterable[Row], order: Sequence[str] = ()) -> list[Variant]:
    """Returns the variants of a sweep.

    Args:
        rows: the rows of `results.parquet`.
        order: groups in the order to show; others follow as they come.
    """
    groups: dict[str, list[Row]] = {name: [] for name in order}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    return [_variant(group, trials) for group, trials in groups.items() if trials]


def _variant(group: str, trials: Sequence[Row]) -> Variant:
    finished = tuple(row for row in trials if row["state"] == "finished")
    candidates = [
        row
        for row in finished
        if is_feasible(row.get("val/violation"))
        and row.get("val/objective") is not None
        and row["kind"] != "replicate"
    ]
    return Variant(
        group=group,
        label=label(group),
        model=trials[0]["model"],
        is_original=trials[0]["method"] == "original",
        is_reference=is_reference(trials[0]),
        default=next((row for row in finished if row["kind"] == "default"), None),
        best=max(
            candidates,
            key=lambda row: rank(row["val/objective"], row["val/violation"]),
            default=None,
        ),
        finished=finished,
        trials=tuple(trials),
    )


def is_reference(row: Row) -> bool:
    """Reports whether a trial is the original or a retrained model: there is nothing to tune."""
    return row["method"] in REFERENCES


def label(group: str) -> str:
    """Returns a variant's name for people: `mage_tiny/ours_proxy` is `Ours, proxy`."""
    name = group.rpartition("/")[2]
    return _LABELS.get(name, name.replace("_", " "))


def metric_labels(rows: Iterable[Row]) -> dict[str, str]:
    """Returns what the three figures are called, by the networks that made them.

    Args:
        rows: the rows of `results.parquet`.

    Returns:
        `fid`, `is` and `clip`: `FID`, `IS` and `CLIP` by Inception and CLIP; otherwise such as
        `FD (photos CNN)`, `IS (photos CNN)` and `cosine (photos CNN)`.
    """
    finished = [row for row in rows if row["state"] == "finished"]

    def named(column: str, usual: str, other: str, families: tuple[str, ...]) -> str:
        networks = sorted({str(row[column]) for row in finished if row.get(column)})
        if networks and all(name.lower().startswith(families) for name in networks):
            return usual
        return f"{other} ({', '.join(networks) or 'not recorded'})"

    return {
        "fid": named("fid_extractor", "FID", "FD", ("inception",)),
        "is": named("is_extractor", "IS", "IS", ("inception",)),
        "clip": named("clip_model", "CLIP", "cosine", ("vit-", "clip", "rn50", "rn101")),
    }


def failures(rows: Iterable[Row]) -> str:
    """Says how many trials did not finish, and why; empty where all did or were stopped early."""
    every = list(rows)
    lost = [row for row in every if row["state"] not in ("finished", "pruned")]
    causes = Counter(str(row["failure"] or row["state"]) for row in lost)
    listed = ", ".join(f"{cause} {count}" for cause, count in causes.most_common())
    return f"{len(lost)} of {len(every)} trials did not finish ({listed})." if lost else ""
