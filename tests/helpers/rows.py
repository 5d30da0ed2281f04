"""Rows of results made by hand, for tests of what the report concludes from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from analysis.comparisons import Comparison, Member, find_comparisons
from analysis.selection import Criterion
from platform.storage.results import COLUMNS
from platform.storage.sweep_folder import Sweep
from platform.storage.variants import variants

CRITERION = Criterion(
    labels={"fid": "FD (photos CNN)", "is": "IS", "clip": "cosine"}, tolerance=0.1
)
ORIGINAL = 10.0


def row(group: str, retain: float, forget: float, **changes: Any) -> dict[str, Any]:
    """A finished trial, of equal distances on validation and test unless told otherwise.

    Args:
        group: its variant's label; the method is what stands before `_proxy`.
        retain: distance.
        forget: distance.
        changes: other columns; `val_retain` and `val_forget` are the validation distances.
    """
    on_validation = [
        changes.pop(f"val_{r}", v) for r, v in (("retain", retain), ("forget", forget))
    ]
    usual = {
        **dict.fromkeys(COLUMNS),
        "name": group,
        "group": group,
        "model": "m",
        "method": group.rpartition("/")[2].removesuffix("_proxy"),
        "formulation": "paper",
        "retain_source": "proxy" if group.endswith("_proxy") else "real",
        "test_task": "centre_0.5",
        "kind": "default",
        "state": "finished",
        "data_hash": "d0d0",
        "forget_alpha": 0.25,
        "lr": 1e-3,
        "seed": 0,
        "retain/fid": retain,
        "forget/fid": forget,
        "val/retain/fid": on_validation[0],
        "val/forget/fid": on_validation[1],
        "val/objective": math.log(on_validation[1] / ORIGINAL),
        "val/violation": math.log(on_validation[0] / (1.1 * ORIGINAL)),
    }
    name = changes.get("name", group)
    return {**usual, "trial_key": f"key-{name}", "point": name, **changes}


REFERENCE = row("original", ORIGINAL, ORIGINAL)


def failed(group: str, **changes: Any) -> dict[str, Any]:
    """A trial that failed."""
    lost = {name: None for name in row(group, 1.0, 1.0) if "/" in name}
    return row(group, 1.0, 1.0, state="failed", failure="crash", **changes) | lost


def seeded(
    group: str, values: Iterable[tuple[float, float]], **changes: Any
) -> list[dict[str, Any]]:
    """One configuration under the seeds 0, 1, ...: retain and forget distance under each."""
    return [
        row(
            *(group, retain, forget),
            name=f"{group}-seed{seed}" if seed else group,
            kind="grid" if seed else "default",
            point=f"{group} at its defaults",
            seed=seed,
            **changes,
        )
        for seed, (retain, forget) in enumerate(values)
    ]


def sweep_of(rows: list[dict[str, Any]], plan: Mapping[str, Any] | None = None) -> Sweep:
    """A sweep that holds these rows, in no folder."""
    table = pa.Table.from_pylist(rows)
    return Sweep(
        name="small", folder=Path("absent"), plan=dict(plan or {}), results=table, environment={}
    )


def comparisons_of(
    rows: list[dict[str, Any]], plan: Mapping[str, Any] | None = None
) -> list[Comparison]:
    """Returns the comparisons of these rows."""
    return find_comparisons(sweep_of(rows, plan), variants(rows))


def member_of(comparison: Comparison, group: str) -> Member:
    """Returns the member of a comparison that is the variant of this group."""
    return next(member for member in comparison.members if member.variant.group == group)
