"""Builds the work that all trials of a sweep share, once, before the first of them starts.

The work and its cache are those of `trainables.shared`; here it is spread over the cluster and
watched.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.util.queue import Empty, Queue

from platform.execution import cluster
from platform.storage.replica import storage_address
from trainables.config import to_dict
from trainables.config.overrides import from_dict
from trainables.utils.errors import NonFiniteError
from trainables.utils.object_store import working_copy

if TYPE_CHECKING:
    from platform.plan.plan import Plan

Watch = Callable[[str, int, int], None]

# each waits for those before it, and those together need only the data; the weights of the paper's
# networks come first, so that a missing file is told before any work
_ORDER = (("networks",), ("data",), ("extractor", "base", "retrained"), ("reference", "tokens"))
_ON_GPU = ("base", "retrained", "reference", "tokens")
_TELL_EVERY_S = 0.5


def build(plan: Plan, watch: Watch) -> None:
    """Builds every stage that the plan's trials need and the cache does not hold.

    Args:
        plan: gives the trials and their cache.
        watch: told (label, steps done, steps in total).

    Raises:
        UserError: data or configuration that cannot be used.
    """
    from trainables.shared.keys import shared_work

    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": cluster.beside_driver()})
    address = storage_address(plan)
    wanted = shared_work(trial.config for trial in plan.trials)
    remote = ray.remote(_build_stage)
    for together in _ORDER:
        tasks = [
            remote.options(num_cpus=1, num_gpus=_gpus(plan, stage)).remote(
                stage, to_dict(config), str(plan.cache.absolute()), address, queue
            )
            for stage in together
            for config in wanted[stage]
        ]
        _await(tasks, queue, watch)
    queue.shutdown()


def _gpus(plan: Plan, stage: str) -> float:
    return min(plan.launch.gpus_per_trial, 1.0) if stage in _ON_GPU else 0.0


def _await(tasks: list[Any], queue: Queue, watch: Watch) -> None:
    while tasks:
        done, tasks = ray.wait(tasks, timeout=_TELL_EVERY_S)
        while True:
            try:
                watch(*queue.get_nowait())
            except Empty:
                break
        for task in done:
            try:
                ray.get(task)
            except ray.exceptions.RayTaskError as error:
                if not isinstance(error.cause, NonFiniteError):
                    raise error.cause from None
                # each trial that needs this meets it again, and fails alone and by its name


def _build_stage(
    stage: str, config: dict[str, Any], cache: str, address: str, queue: Queue
) -> None:
    """Runs on a worker: builds one stage into the cache, or into this node's copy of it."""
    import torch

    from trainables.data import load
    from trainables.evaluation import domain_cnn
    from trainables.shared import base_models, prepare, tokens
    from trainables.training.context import Context

    trial = from_dict(config)
    told = 0.0

    def tell(label: str, step: int, total: int) -> None:
        nonlocal told
        if step == total or time.monotonic() - told > _TELL_EVERY_S:
            told = time.monotonic()
            queue.put((label, step, total))

    device = torch.device("cuda" if ray.get_gpu_ids() else "cpu")
    here = working_copy(address).local / Path(cache).name if address else Path(cache)
    context = Context(cache=here, device=device, report_steps=tell)
    if stage == "networks":
        prepare.check_networks(trial, context)
        return
    dataset = load(trial.data, context.cache)
    if stage == "extractor":
        domain_cnn.extractor_folder(trial, dataset, context)
    elif stage == "base":
        base_models.base_model(trial, dataset, context)
    elif stage == "retrained":
        base_models.retrained_model(trial, dataset, context)
    elif stage == "reference":
        prepare.prepare(trial, context)
    elif stage == "tokens":
        base = base_models.base_model(trial, dataset, context)
        tokens.kept_tokens(trial, dataset, base, context)
