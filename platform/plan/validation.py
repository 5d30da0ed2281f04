"""Finds what would fail every trial of a configuration, before any of them starts."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from platform.plan.plan import Plan
from trainables.config import DataConfig, NetworksConfig, TrialConfig
from trainables.config.evaluation import WEIGHTS_OPTIONS
from trainables.data.splits import class_roles
from trainables.shared.keys import shared_work
from trainables.utils.errors import DataError
from trainables.utils.text import close_names

Roles = Callable[[DataConfig], frozenset[str] | None]


def _present_roles(config: DataConfig) -> frozenset[str] | None:
    try:
        return frozenset(class_roles(config).values())
    except DataError:  # whoever looks at the data reports it
        return None


def plan_problems(configs: Iterable[TrialConfig], workers: int) -> list[str]:
    """Returns why trials can never train, a line each.

    The data of all are looked at once, since listing a large tree takes time.

    Args:
        configs: the trials' configurations.
        workers: processes that share each of their batches.
    """
    roles = functools.cache(_present_roles)
    return [line for each in configs for line in trial_problems(each, workers, roles)]


def trial_problems(config: TrialConfig, workers: int, roles: Roles = _present_roles) -> list[str]:
    """Returns why a trial can never train, a line each; none where it can.

    Args:
        config: the trial's configuration.
        workers: processes that share each of its batches.
        roles: returns the roles that its data have a class of; None where the data cannot be
            read, a fault that others report.
    """
    rows = config.batch_rows()
    return [
        *(
            f"checkpoint: {path} is not a file"
            for path in config.checkpoint
            if not Path(path).is_file()
        ),
        *_missing_networks(config.networks),
        *_missing_roles(config, rows, roles(config.data)),
        *_unshared_rows(config, rows, workers),
    ]


def _missing_networks(config: NetworksConfig) -> list[str]:
    """Returns a line for each given file that is missing; what is downloaded comes later."""
    wrong = [
        f"{WEIGHTS_OPTIONS[name]}={path} is not a file"
        for name, path in config.weights().items()
        if path and not Path(path).is_file()
    ]
    schema, colon, folder = config.embeddings.partition(":")
    described = Path(folder) / "open_clip_config.json"
    if colon and schema == "local-dir" and not described.is_file():
        wrong.append(f"networks.embeddings={config.embeddings}: {described} is not a file")
    models = _clip_models()
    if not colon and config.embeddings not in {"domain", *models}:
        near = close_names(config.embeddings, models)
        wrong.append(
            f"networks.embeddings={config.embeddings} is neither domain nor a model of "
            f"open_clip{near}"
        )
    return wrong


@functools.cache
def _clip_models() -> list[str]:
    """Returns the names of open_clip's models, from its files: to import it would import torch."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        return []
    return sorted(each.stem for each in Path(spec.origin).parent.glob("model_configs/*.json"))


def _missing_roles(
    config: TrialConfig, rows: Mapping[str, int], present: frozenset[str] | None
) -> list[str]:
    if present is None:
        return []
    return [
        f"retain_source={config.retain_source} trains on {role} images and data.{role} names no "
        "class: name one, or --set retain_source=real"
        for role in rows
        if role not in present
    ]


def _unshared_rows(config: TrialConfig, rows: Mapping[str, int], workers: int) -> list[str]:
    parts = config.unlearn.accumulate
    wrong = [
        f"{count // workers} {kind} rows of each of {workers} workers cannot be cut into "
        f"unlearn.accumulate={parts} equal parts"
        for kind, count in (
            ("forget", rows.get("forget", 0)),
            ("retain", rows.get("retain", 0) + rows.get("proxy", 0)),
        )
        if workers > 1 and count // workers % parts
    ]
    if workers < 2:
        return wrong
    wrong += [
        f"{count} {role} rows a step cannot be shared by {workers} workers evenly "
        f"(--workers, unlearn.{'forget' if role == 'forget' else 'retain'}_batch, retain_source)"
        for role, count in rows.items()
        if count % workers
    ]
    if config.method == "retain_label" and (len(rows) > 2 or len(set(rows.values())) > 1):
        # a forget row goes with the retain row of its place, which must be on the same worker
        wrong.append(
            "retain_label on several workers needs as many retain rows as forget rows, from one "
            "source (--workers 1, or retain_source=real and equal batches)"
        )
    return wrong


def check_weights(plan: Plan) -> None:
    """Reads the published originals of a plan, and finds the weights of the networks that measure.

    Weights that are neither given nor kept are downloaded.

    Raises:
        CheckpointError: a file that is refused, or weights that cannot be had, in one line.
    """
    work = shared_work(trial.config for trial in plan.trials)
    originals = [config for config in work["base"] if config.checkpoint]
    # these modules import torch: a sweep that reads no weights leaves that to its workers
    if originals:
        from trainables.shared.base_models import check_checkpoint

        for config in originals:
            check_checkpoint(config)
    if work["networks"]:
        from trainables.evaluation.pretrained_weights import find_weights

        for config in work["networks"]:
            find_weights(config.networks, plan.cache)
