"""Runs one trial on several workers or GPUs by Ray Train. The only importer of ray.train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import ray.train
import ray.train.torch

from platform.execution.failures import Failure
from platform.execution.heartbeat import signs_from_afar, signs_of_life
from platform.execution.trial_process import TrialFiles, TrialOrder, attempt, require_gpu
from platform.plan import resources
from trainables.config.overrides import from_dict
from trainables.utils.files import make_folder
from trainables.utils.waiting import waiting

# a driver may wait for an address, or copy the files of another trial
_REPORTED_WITHIN_S = 600.0


def execute(order: TrialOrder, callbacks: Sequence[Any] = ()) -> Failure | None:
    """Runs a trial on the workers that it asks for.

    Args:
        order: the trial.
        callbacks: Ray Train's, which are told the metrics of every evaluation.

    Returns:
        As `trial_process.attempt`.
    """
    return attempt(order, lambda files: _fit(order, files, callbacks))


def _fit(order: TrialOrder, files: TrialFiles, callbacks: Sequence[Any]) -> None:
    per_worker = {"CPU": resources.WORKER_CPUS}
    if order.gpus:
        per_worker["GPU"] = order.gpus / order.workers
    trainer = ray.train.torch.TorchTrainer(
        _work,
        train_loop_config=asdict(order),
        scaling_config=ray.train.ScalingConfig(
            num_workers=order.workers,
            use_gpu=bool(order.gpus),
            resources_per_worker=per_worker,
        ),
        run_config=ray.train.RunConfig(
            name=order.key,
            **_storage(files),
            callbacks=list(callbacks),
            # by default Ray Train would start a group that failed again, for ever
            failure_config=ray.train.FailureConfig(max_failures=0),
        ),
    )
    trainer.fit()
    if not files.fetch_result():
        raise RuntimeError("the workers ended without a result")


def _storage(files: TrialFiles) -> dict[str, Any]:
    """Returns where Ray Train keeps its own files, as every node reaches it."""
    folder = files.folder.absolute().parent.parent / "train"
    if files.mirror is None:
        return {"storage_path": str(folder)}
    remote = files.mirror.remote
    return {
        "storage_path": remote.path(files.mirror.name(folder)),
        "storage_filesystem": remote.filesystem,
    }


def _report(metrics: Mapping[str, float]) -> None:
    """Reports to the driver; Ray waits for the other workers, and a stuck one is to be noticed."""
    with waiting(_REPORTED_WITHIN_S):
        ray.train.report(dict(metrics))


def _work(values: dict[str, Any]) -> None:
    """Runs in each of the processes that share a trial's batches."""
    from trainables.training.context import Context
    from trainables.trial import run_trial
    from trainables.utils.distributed import World

    order = TrialOrder(**values)
    require_gpu(order)
    files = TrialFiles(order)
    worker = ray.train.get_context()
    world = World(worker.get_world_rank(), worker.get_world_size())
    context = Context(
        folder=files.folder,
        cache=files.cache,
        device=ray.train.torch.get_device(),
        world=world,
        parallelise=ray.train.torch.prepare_model,
        report=_report,
        kept=files.upload,
    )
    if files.mirror is not None and world.rank == 0:
        # the process that started the workers may be on another node, and cleared its own folder
        files.clear(hidden=False)
    make_folder(files.folder)
    with signs_of_life(files.folder, world.rank):
        with signs_from_afar(files.folder, world.rank, world.size, files.mirror):
            files.fetch_snapshot()
            run_trial(from_dict(order.config), context, planned=True)
        if world.rank == 0:
            files.deliver()
