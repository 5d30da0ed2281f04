"""A small recorded sweep, synthetic but written by the project's own writers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from platform.plan.plan import Group, Plan, PlannedTrial
from platform.plan.serialization import write_plan
from platform.storage.environment import write_environment
from platform.storage.results import result_row, write_results
from trainables.config import TaskConfig, TrialConfig, UnlearnConfig, to_dict
from trainables.evaluation.embeddings import tsne_points, write_embeddings
from trainables.evaluation.figures import GROUPS, sample_grid, tsne_figure, write_samples
from trainables.utils.hashing import seal
from trainables.utils.local_files import take_inventory

EXTRACTORS = {
    "fid_extractor": "photos CNN",
    "is_extractor": "photos CNN",
    "clip_model": "photos CNN",
}
ORIGINAL_RETAIN, ORIGINAL_FORGET = 17.0, 15.0


def trial(group: str, number: int = 0, **fields: Any) -> PlannedTrial:
    """A planned trial of a group: its default, or the search's number `number`."""
    method = "ours" if group == "ours_proxy" else group
    source = "proxy" if group == "ours_proxy" else "real"
    config = TrialConfig(method=method, retain_source=source, **fields)  # type: ignore[arg-type]
    return PlannedTrial(
        key=config.key(),
        group=group,
        group_name=group,
        name=f"{group}-s{number}" if number else group,
        kind="search" if number else "default",
        number=number,
        config=config,
        params={},
    )


def planned_trials(test_task: Literal["centre", "outpaint"] = "centre") -> tuple[PlannedTrial, ...]:
    """The original, and four variants of which two were searched."""
    task = TaskConfig(kind=test_task, ratio=0.5 if test_task == "centre" else 0.25)
    unlearn = UnlearnConfig(lr=3e-3)
    return (
        trial("original", test_task=task),
        trial("max_loss", test_task=task),
        trial("noisy_label", test_task=task),
        trial("ours", test_task=task),
        trial("ours_proxy", test_task=task),
        trial("max_loss", 1, test_task=task, forget_alpha=0.5, unlearn=unlearn),
        trial("ours", 1, test_task=task, forget_alpha=0.1, unlearn=unlearn),
        trial("ours", 2, test_task=task, forget_alpha=0.8, unlearn=unlearn),
    )


def plan_of(
    storage: Path, trials: tuple[PlannedTrial, ...] = (), study: str = "quickstart"
) -> Plan:
    """The plan of a sweep `quickstart`, with an empty folder."""
    chosen = trials or planned_trials()
    plan = Plan(
        name="quickstart",
        study=study,
        question="Which variant forgets and harms least?",
        storage=storage,
        seed=0,
        trials=chosen,
        groups=tuple(
            Group(label=each.group, name=each.name, config=each.config)
            for each in chosen
            if each.kind == "default"
        ),
    )
    plan.folder.mkdir(parents=True)
    return plan


def result_of(planned: PlannedTrial) -> dict[str, Any]:
    """A `result.json`: Max Loss hurts the retain images, Ours at alpha 0.1 does not."""
    alpha = planned.config.canonical().forget_alpha
    harm = {"max_loss": 2.0, "ours": 0.8, "ours_proxy": 3.0}.get(planned.group, 0.0)
    forget, retain = ORIGINAL_FORGET * (1 + 20 * alpha), ORIGINAL_RETAIN * (1 + harm * alpha)
    measured = {
        f"{split}{role}/{name}": value * factor
        for split, factor in (("", 1.0), ("val/", 1.1))
        for role, fid in (("retain", retain), ("forget", forget))
        for name, value in (("fid", fid), ("is_mean", 2.5), ("is_std", 0.125), ("clip", 0.9))
    }
    return {
        "trial_key": planned.key,
        "metrics": {
            **measured,
            "val/objective": math.log(forget / ORIGINAL_FORGET),
            "val/violation": math.log(retain / (1.1 * ORIGINAL_RETAIN)),
        },
        "extractors": EXTRACTORS,
        "timing": {"prepare_s": 0.5, "train_s": 2.0, "total_s": 3.5},
        "data_hash": "d0d0",
        "code_version": "c0de",
    }


def leave_files(folder: Path, planned: PlannedTrial) -> dict[str, Any]:
    """Everything that a trial leaves, small."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(1)
    truth = torch.rand(4, 3, 8, 8, generator=generator)
    hole = torch.zeros(4, 1, 8, 8, dtype=torch.bool)
    hole[..., 2:6, 2:6] = True
    shade = 0.2 + 0.1 * (hash_of(planned.name) % 7)
    columns = {
        "input": truth.masked_fill(hole, 0.5),
        "truth": truth,
        "original": truth * 0.9,
        "unlearned": truth.masked_fill(hole, shade),
    }
    rows, index = ["forget", "forget", "retain", "retain"], [7, 3, 1, 4]
    sample_grid(folder / "samples.png", columns, rows, title=planned.name)
    write_samples(folder / "samples.parquet", columns, rows, index)
    groups = [group for group in GROUPS for _ in range(8)]
    spread = np.random.default_rng(2).normal(size=(len(groups), 6))
    points = tsne_points(spread, seed=0)
    write_embeddings(folder / "embeddings.parquet", groups, list(range(8)) * 4, spread, points)
    tsne_figure([folder / "tsne.png"], points, groups, title=planned.name)
    (folder / "config.json").write_text(json.dumps(to_dict(planned.config)))
    (folder / "weights.safetensors").write_bytes(b"weights")
    result = result_of(planned)
    history = [{"step": step, **result["metrics"], "loss/total": 9.0 / step} for step in (40, 120)]
    (folder / "history.json").write_text(json.dumps(history))
    result["files"] = take_inventory(folder.iterdir())
    (folder / "result.json").write_text(json.dumps(seal(result)))
    return result


def hash_of(name: str) -> int:
    """A number of a name, the same in every process."""
    return sum(name.encode())


def record_sweep(plan: Plan) -> Path:
    """Writes a whole sweep folder in which the trial `noisy_label` failed."""
    rows = []
    for planned in plan.trials:
        if planned.name == "noisy_label":
            rows.append(result_row(plan, planned, "failed", failure="non-finite", duration_s=1.0))
            continue
        result = leave_files(plan.folder / "trials" / planned.name, planned)
        rows.append(result_row(plan, planned, "finished", result))
    write_results(plan.folder, rows)
    write_environment(plan.folder)
    write_plan(plan)
    return plan.folder
