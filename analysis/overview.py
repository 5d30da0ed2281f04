"""Tells what the report says of a sweep itself: its plan, data, failures and environment."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analysis.comparisons import Comparison
from analysis.criterion import Criterion, percent
from analysis.tables_io import Column, Table
from platform.storage.sweep_folder import RecordError, Sweep, read_table
from platform.storage.variants import Row, Variant

Fact = tuple[str, str]
_NETWORKS = {
    "fid_extractor": "Frechet distance",
    "is_extractor": "Inception Score",
    "clip_model": "cosine and t-SNE",
}
_CAUSES = {"pruned": "stopped early, behind others", "interrupted": "the sweep was stopped"}


def plan_facts(
    sweep: Sweep,
    variants: Sequence[Variant],
    comparisons: Sequence[Comparison],
    criterion: Criterion,
) -> list[Fact]:
    """Returns the plan in names and values."""
    rows, plan = sweep.rows(), sweep.plan
    configs = [comparison.config for comparison in comparisons]
    kinds = Counter(str(row["kind"]) for row in rows)
    measured = {
        text: _listed(row[column] for row in rows) or "not recorded"
        for column, text in _NETWORKS.items()
    }
    return [
        ("Study", f"{plan.get('study', 'not recorded')}, sweep {sweep.name}"),
        ("Settings", _listed(plan.get("settings", ())) or "as the study has them"),
        ("Models", _listed(variant.model for variant in variants)),
        ("Variants", "; ".join(dict.fromkeys(variant.label for variant in variants))),
        ("Kinds of trial", ", ".join(f"{count} {kind}" for kind, count in kinds.items())),
        ("Search space", _space(plan)),
        ("Search", _pairs(plan.get("search", {}))),
        ("Budget of a trial", _budget(rows, plan)),
        ("Seeds", _seeds(rows)),
        (
            "Tolerance",
            f"{percent(criterion.tolerance)} above the original's validation retain distance",
        ),
        ("Test task", _listed(row["test_task"] for row in rows)),
        ("Data", _data(sweep, configs)),
        ("Measured by", _pairs(measured)),
        ("Trials", _trial_counts(sweep)),
    ]


def _trial_counts(sweep: Sweep) -> str:
    """Counts the trials by how they ended, and those that were taken over from other sweeps."""
    rows = sweep.rows()
    states = Counter(str(row["state"]) for row in rows)
    usual = dict.fromkeys(("finished", "failed", "pruned", "interrupted"), 0)
    parts = [f"{len(rows)} in all"]
    parts += [f"{count} {state}" for state, count in {**usual, **states}.items()]
    taken = sum(
        (sweep.trial_folder(row) / "reused.json").is_file()
        for row in rows
        if row["state"] == "finished"
    )
    return ", ".join([*parts, f"{taken} of the finished taken over from other sweeps"])


def _space(plan: Mapping[str, Any]) -> str:
    found: dict[str, None] = {}
    for group in plan.get("groups", ()):
        for name, axis in group.get("space", {}).items():
            found[f"{name} {_distribution(axis)}"] = None
    return "; ".join(found) or "nothing is searched"


def _distribution(text: str) -> str:
    """Returns Optuna's JSON of a distribution in a few words."""
    try:
        values = json.loads(text)["attributes"]
    except (ValueError, KeyError, TypeError):
        return str(text)
    if "choices" in values:
        return "of " + ", ".join(map(str, values["choices"]))
    return f"{values['low']:g} to {values['high']:g}" + (
        ", by its logarithm" if values["log"] else ""
    )


def _budget(rows: Sequence[Row], plan: Mapping[str, Any]) -> str:
    found = dict.fromkeys(
        f"{unlearn['steps']} steps of {unlearn['forget_batch']} forget and "
        f"{unlearn['retain_batch']} retain images"
        + (f" ({group['config']['model']})" if len({row["model"] for row in rows}) > 1 else "")
        for group in plan.get("groups", ())
        if group.get("config", {}).get("method") not in ("original", "retrained")
        and (unlearn := group.get("config", {}).get("unlearn"))
    )
    return "; ".join(found) or "not recorded"


def _seeds(rows: Sequence[Row]) -> str:
    own = sorted({row["seed"] for row in rows if row["seed"] is not None})
    parts = [f"unlearning {', '.join(map(str, own))}"]
    for column, text in (("pretrain_seed", "pretraining"), ("evaluation_seed", "measuring")):
        found = sorted({row[column] for row in rows if row.get(column) is not None})
        if found:
            parts.append(f"{text} {', '.join(map(str, found))}")
    return "; ".join(parts)


def _data(sweep: Sweep, configs: Sequence[Mapping[str, Any]]) -> str:
    sources = _listed(config["data.source"] for config in configs if "data.source" in config)
    hashes = _listed(row["data_hash"] for row in sweep.rows())
    return f"{sources or 'not recorded'}, hash {hashes or 'unknown'}"


def data_table(sweep: Sweep) -> Table | None:
    """Makes the table of images and classes by role and split; None without a manifest.

    Raises:
        RecordError: the manifest is damaged.
    """
    path = sweep.folder / "manifest.parquet"
    if not path.is_file():
        return None
    manifest = read_table(path)
    if not {"role", "split", "class"} <= set(manifest.column_names):
        raise RecordError(f"{path} is no manifest: it lacks role, split or class")
    counted = manifest.group_by(["role", "split"]).aggregate([("class", "count")]).to_pylist()
    images = {(row["role"], row["split"]): row["class_count"] for row in counted}
    classes = manifest.group_by("role").aggregate([("class", "distinct")]).to_pylist()
    splits = [split for split in ("train", "val", "test") if any(s == split for _, s in images)]
    rows = [
        {
            "role": row["role"],
            "names": _shortened(sorted(row["class_distinct"])),
            "classes": len(row["class_distinct"]),
            **{split: images.get((row["role"], split), 0) for split in splits},
        }
        for row in sorted(classes, key=lambda row: str(row["role"]))
    ]
    return Table(
        name="data",
        caption="Images by role and split",
        columns=(
            Column(key="role", heading="Role"),
            Column(key="names", heading="Classes"),
            Column(key="classes", heading="classes", kind="integer"),
            *(Column(key=split, heading=f"{split} images", kind="integer") for split in splits),
        ),
        rows=rows,
    )


def failures_table(rows: Iterable[Mapping[str, Any]]) -> Table | None:
    """Makes the table of the trials that did not finish, with causes; None where all did."""
    lost = [row for row in rows if row["state"] != "finished"]
    if not lost:
        return None
    return Table(
        name="failures",
        caption="Trials that did not finish",
        columns=(
            Column(key="name", heading="Trial"),
            Column(key="model", heading="Model"),
            Column(key="group", heading="Variant"),
            Column(key="state", heading="State"),
            Column(key="failure", heading="Cause"),
            Column(key="duration_s", heading="seconds", kind="number", form=".1f"),
        ),
        rows=[{**row, "failure": row["failure"] or _CAUSES.get(row["state"])} for row in lost],
        notes=("What did not finish counts in no other table, figure or choice here.",),
    )


def lost_files_table(lost: Mapping[str, Sequence[str]]) -> Table | None:
    """Makes the table of files that are gone or altered; None where there are none.

    Args:
        lost: what has become of the files, by the name of their trial.
    """
    if not lost:
        return None
    return Table(
        name="lost_files",
        caption="Files of finished trials that are gone or altered since",
        columns=(Column(key="name", heading="Trial"), Column(key="fault", heading="What is lost")),
        rows=[{"name": name, "fault": ", ".join(faults)} for name, faults in lost.items()],
        notes=(
            "The figures of these trials are kept and count; python -m platform.sweep --repair "
            "runs them again.",
        ),
    )


def environment_table(environment: Mapping[str, Any]) -> Table:
    """Makes the table of `environment.json`, a row an entry."""
    rows = []
    for name, value in environment.items():
        if isinstance(value, Mapping):
            rows += [{"name": f"{name}: {each}", "value": _text(v)} for each, v in value.items()]
        else:
            rows.append({"name": name, "value": _text(value)})
    return Table(
        name="environment",
        caption="What the sweep ran on",
        columns=(Column(key="name", heading="What"), Column(key="value", heading="Value")),
        rows=rows,
    )


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(_text(each) for each in value) or "none"
    if isinstance(value, Mapping):
        return _pairs(value)
    return "not known" if value is None else str(value)


def _pairs(values: Mapping[str, Any]) -> str:
    return "; ".join(f"{name.replace('_', ' ')} {_text(value)}" for name, value in values.items())


def _listed(values: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(value) for value in values if value is not None))


def _shortened(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
