"""What the record says of a sweep and of a trial: tags, parameters, measurements."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from platform.storage.address import storage_option
from platform.storage.results import COMPARED

if TYPE_CHECKING:
    from platform.plan.plan import Plan, PlannedTrial

# the tag of a trial's run that has all that its trial's end left to record, artifacts included
RECORDED = "recorded"
# metrics by name, with the training step that they belong to
Measurements = list[tuple[int, dict[str, float]]]


def trial_tags(plan: Plan, trial: PlannedTrial, parent: str, commit: str) -> dict[str, str]:
    """Returns a trial's tags, by which a reader groups and filters.

    Args:
        plan: the sweep.
        trial: the trial.
        parent: the sweep's run.
        commit: the commit of the code, or `unknown`.
    """
    config = trial.config.canonical()
    return {
        **_source(commit),
        "mlflow.parentRunId": parent,
        "trial_key": trial.key,
        "group": trial.group,
        "kind": trial.kind,
        **{name: str(getattr(config, name)) for name in (*COMPARED, "seed")},
        "study": plan.study,
        "sweep": plan.name,
    }


def trial_params(trial: PlannedTrial) -> dict[str, str]:
    """Returns what a reader compares trials by; the whole configuration is an artifact."""
    config = trial.config.canonical()
    chosen: dict[str, Any] = {name: getattr(config, name) for name in ("model", "method", "seed")}
    if config.unlearns:  # what does not has no rate and no steps
        chosen |= {"retain_source": config.retain_source, "forget_alpha": config.forget_alpha}
        chosen |= {"lr": config.unlearn.lr, "steps": config.unlearn.steps}
    return {name: str(value) for name, value in chosen.items()}


def variants_page(sweep: str, experiment: str) -> str:
    """Returns the page of MLflow's user interface that shows a sweep's variants side by side.

    Args:
        sweep: the sweep's name.
        experiment: the experiment's number in MLflow.

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
    """Returns a sweep's tags, with its description: what it asks and where the answer is."""
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
    """Returns the tags by which the user interface says who ran what."""
    return {
        "git_commit": commit,
        "mlflow.source.git.commit": commit,
        "mlflow.source.name": "platform.sweep",
        "mlflow.source.type": "LOCAL",
        "mlflow.user": getpass.getuser(),
    }


def _description(plan: Plan, page: str) -> str:
    commands = "\n".join(
        f"    python -m analysis.{name} {plan.name} --storage {storage_option(plan)}"
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
    """Returns the metrics of a report: a "/" tells them from Ray's own values and from labels."""
    return {
        name: float(value)
        for name, value in values.items()
        if "/" in name and isinstance(value, int | float)
    }


def final_measurements(folder: Path, result: Mapping[str, Any], last_step: int) -> Measurements:
    """Returns all that was measured of a finished trial: history, last metrics, times in seconds.

    Args:
        folder: the trial's folder.
        result: its `result.json`.
        last_step: the step of its last metrics, where it has no history.
    """
    path = folder / "history.json"
    try:
        reports = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):  # the result holds the last metrics
        reports = []
    history: Measurements = [(int(report["step"]), numbers(report)) for report in reports]
    timing = {f"time/{name}": value for name, value in result.get("timing", {}).items()}
    step = max((step for step, _ in history), default=last_step)
    return [*history, (step, numbers({**result.get("metrics", {}), **timing}))]
