"""What the record says of a sweep and of a trial: tags, parameters, points, as plain values."""

from __future__ import annotations

import getpass
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from platform.storage.replica import place
from trainables.utils.text import one_line

if TYPE_CHECKING:
    from platform.plan.plan import Plan, PlannedTrial

Points = list[tuple[int, dict[str, float]]]


def trial_tags(plan: Plan, trial: PlannedTrial, parent: str, commit: str) -> dict[str, str]:
    """A trial's tags: what a reader groups and filters by.

    Args:
        plan: the sweep.
        trial: the trial.
        parent: the run of the sweep.
        commit: of the code.
    """
    config = trial.config.canonical()
    return {
        **_source(commit),
        "mlflow.parentRunId": parent,
        "trial_key": trial.key,
        "group": trial.group,
        "kind": trial.kind,
        "model": config.model,
        "method": config.method,
        "formulation": config.formulation,
        "retain_source": config.retain_source,
        "seed": str(config.seed),
        "study": plan.study,
        "sweep": plan.name,
    }


def trial_params(trial: PlannedTrial) -> dict[str, str]:
    """What a reader compares trials by; the whole configuration is an artifact."""
    config = trial.config.canonical()
    chosen = {
        "model": config.model,
        "method": config.method,
        "retain_source": config.retain_source,
        "forget_alpha": config.forget_alpha,
        "lr": config.unlearn.lr,
        "steps": config.unlearn.steps,
        "seed": config.seed,
    }
    if not config.unlearns:  # nothing was unlearned: it has no rate and no steps
        chosen = {name: chosen[name] for name in ("model", "method", "seed")}
    return {name: str(value) for name, value in chosen.items()}


def variants_page(sweep: str, experiment: str) -> str:
    """The page of MLflow's user interface that shows a sweep's variants side by side.

    Args:
        sweep: its name.
        experiment: its number in MLflow.

    Returns:
        What follows the server's address, from `#` on. By default the interface hides trials below
        their sweep, and shows them flat only where they are not sorted by time.
    """
    query = {
        "searchFilter": f'tags.sweep = "{sweep}" and tags.kind = "default"',
        "orderByKey": "tags.`mlflow.runName`",
        "orderByAsc": "true",
        "compareRunsMode": "CHART",
    }
    return f"#/experiments/{experiment}/runs?{urlencode(query, quote_via=quote)}"


def sweep_tags(plan: Plan, sweep_id: str, commit: str, experiment: str) -> dict[str, str]:
    """A sweep's tags, and its description: what it asks and where the answer is."""
    return {
        **_source(commit),
        "sweep_id": sweep_id,
        "sweep": plan.name,
        "study": plan.study,
        "kind": "sweep",
        "seed": str(plan.seed),
        "mlflow.note.content": _description(plan, variants_page(plan.name, experiment)),
    }


def _source(commit: str) -> dict[str, str]:
    """The tags by which the user interface says who ran what."""
    return {
        "git_commit": commit,
        "mlflow.source.git.commit": commit,
        "mlflow.source.name": "platform.sweep",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": getpass.getuser(),
    }


def _description(plan: Plan, page: str) -> str:
    commands = "\n".join(
        f"    python -m analysis.{name} {plan.name} --storage {place(plan)}"
        for name in ("report", "tables", "samples", "tsne", "ablation")
    )
    return f"""**Question.** {plan.question}

**Where the answer is.** [The variants side by side, with their curves]({page}). The runs below this
one are the trials; the tag `kind` tells a variant's `default` from the trials of its `search`.

- Good unlearning keeps `retain/fid` low and makes `forget/fid` high. `val/...` is the validation
  split, by which trials are chosen.
- Pictures: a trial's *Artifacts*, `samples.png` and `tsne.png`.
- Numbers: `results.parquet` among this run's artifacts, a row a trial. Tables and figures:

{commands}
"""


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The metrics among a report's values: a "/" tells them from Ray's own and from labels."""
    return {
        name: float(value)
        for name, value in values.items()
        if "/" in name and isinstance(value, int | float)
    }


def final_points(folder: Path, result: Mapping[str, Any], last_step: int) -> Points:
    """All points of a finished trial: its history, its last metrics, and its times in seconds.

    Args:
        folder: the trial's.
        result: its `result.json`.
        last_step: of its last metrics, where it has no history.
    """
    path = folder / "history.json"
    try:
        reports = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):  # its last metrics are in the result
        reports = []
    points: Points = [(int(report["step"]), numbers(report)) for report in reports]
    timing = {f"time/{name}": value for name, value in result.get("timing", {}).items()}
    step = max((step for step, _ in points), default=last_step)
    return [*points, (step, numbers({**result.get("metrics", {}), **timing}))]


def without_password(text: str) -> str:
    """A text in which no address shows who signs in, or by what password."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def unusable(uri: str, error: Exception) -> str:
    """One line on a tracking store that fails; a password in an address is never shown."""
    said = one_line(f"MLflow at {uri} cannot be used ({type(error).__name__}: {error}", None)
    remedy = (
        "is the server running, and is --tracking-uri its address?"
        if uri.startswith("http")
        else "is its folder there and writable?"
    )
    return without_password(said)[:200] + f"); {remedy}"
