"""Builds the work that trials of a sweep share, once, before those that need it start.

What it is and where it is cached, `trainables.shared` says; this module spreads it over the cluster
and tells how far it is. It imports Ray, and so is imported once Ray runs.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.util.queue import Empty, Queue

from platform.execution.heartbeat import signs_of_life
from platform.execution.nodes import beside_driver
from platform.storage.address import storage_address
from trainables.config import to_dict
from trainables.config.overrides import from_dict
from trainables.utils.errors import NonFiniteError
from trainables.utils.object_store import working_copy

if TYPE_CHECKING:
    from platform.execution.trial_process import TrialOrder
    from platform.plan.plan import Plan, PlannedTrial

TellSteps = Callable[[str, int, int], None]

# Each group of kinds waits for those before it. The weights of the paper's networks come first, so
# that a missing file is told before any work.
_GROUPS = (("networks",), ("data",), ("extractor", "base", "retrained"), ("reference", "tokens"))
_ON_GPU = ("base", "retrained", "reference", "tokens")
_TELL_EVERY_S = 0.5


def build(plan: Plan, trials: Iterable[PlannedTrial], tell: TellSteps) -> None:
    """Builds all shared work that some trials of a plan need and the cache does not hold.

    Args:
        plan: gives the cache.
        trials: those that are known to be outstanding.
        tell: is told (label, steps done, steps in total).

    Raises:
        UserError: data or configuration that cannot be used.
    """
    from trainables.shared.keys import shared_work

    queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": beside_driver()})
    address = storage_address(plan)
    wanted = shared_work(trial.config for trial in trials)
    remote, gpus = ray.remote(_build_watched), min(plan.launch.gpus_per_trial, 1.0)
    for group in _GROUPS:
        tasks = [
            remote.options(num_cpus=1, num_gpus=gpus if kind in _ON_GPU else 0.0).remote(
                kind, to_dict(config), str(plan.cache.absolute()), address, queue
            )
            for kind in group
            for config in wanted[kind]
        ]
        _await(tasks, queue, tell)
    queue.shutdown()


def _await(tasks: list[Any], queue: Queue, tell: TellSteps) -> None:
    """Waits for tasks, and tells meanwhile what they put into the queue."""
    while tasks:
        done, tasks = ray.wait(tasks, timeout=_TELL_EVERY_S)
        while True:
            try:
                tell(*queue.get_nowait())
            except Empty:
                break
        for task in done:
            try:
                ray.get(task)
            except ray.exceptions.RayTaskError as error:
                if not isinstance(error.cause, NonFiniteError):
                    raise error.cause from None
                # each trial that needs this meets it again, and fails alone and by its name


def build_for(order: TrialOrder, tell: TellSteps) -> None:
    """Builds, in this process, all shared work that a trial needs and the cache does not hold.

    Whatever this raises, the trial raises it too when it comes to need the work.

    Args:
        order: the trial.
        tell: as of `build`.
    """
    with contextlib.suppress(Exception), _watched():
        _build_kind("reference", order.config, order.cache, order.address, tell)


def _build_watched(
    kind: str, config: dict[str, Any], cache: str, address: str, queue: Queue
) -> None:
    with _watched():
        _build_kind(kind, config, cache, address, lambda *told: queue.put(told))


@contextlib.contextmanager
def _watched() -> Iterator[None]:
    """Has this process killed where it is stuck in the block: others wait for what it builds."""
    with tempfile.TemporaryDirectory(prefix="unlearn-") as made, signs_of_life(Path(made)):
        yield


def _build_kind(
    kind: str, config: dict[str, Any], cache: str, address: str, tell: TellSteps
) -> None:
    """Builds one piece of shared work into the cache, or this node's copy of it, on a worker."""
    import torch

    from trainables.evaluation import extractors
    from trainables.shared import base_models, prepare, tokens
    from trainables.training.context import Context, load_setup

    trial = from_dict(config)
    last = 0.0

    def tell_sometimes(label: str, step: int, total: int) -> None:
        nonlocal last
        if step == total or time.monotonic() - last > _TELL_EVERY_S:
            last = time.monotonic()
            tell(label, step, total)

    device = torch.device("cuda" if ray.get_gpu_ids() else "cpu")
    local = working_copy(address).local / Path(cache).name if address else Path(cache)
    context = Context(cache=local, device=device, report_steps=tell_sometimes)
    if kind == "networks":
        prepare.check_networks(trial, context)
        return
    setup = load_setup(trial, context)
    if kind == "extractor":
        extractors.extractor_folder(setup)
    elif kind == "base":
        base_models.base_model(setup)
    elif kind == "retrained":
        base_models.retrained_model(setup)
    elif kind == "reference":
        prepare.prepare(trial, context)
    elif kind == "tokens":
        tokens.kept_tokens(setup, base_models.base_model(setup))
