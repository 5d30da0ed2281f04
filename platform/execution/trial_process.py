"""Runs one trial: in this process, or on several workers and GPUs by Ray Train."""

from __future__ import annotations

import contextlib
import re
import shutil
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from platform.execution.heartbeat import signs_from_afar, signs_of_life
from platform.plan import resources
from trainables.config.names import RESULT, SNAPSHOT
from trainables.config.overrides import from_dict
from trainables.utils.addresses import StorageError
from trainables.utils.errors import NonFiniteError, UserError
from trainables.utils.hashing import read_sealed
from trainables.utils.object_store import Mirror, working_copy
from trainables.utils.patience import patiently

# Ray's, by name: this module is imported where Ray is not
_LOST = ("RayActorError", "ActorDiedError", "ActorUnavailableError", "WorkerCrashedError")

Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a trial's process is told, in plain values.

    Attributes:
        key: the trial's.
        config: nested, as `trainables.config.to_dict` makes it.
        folder, cache: where it writes and where shared work lies; below the storage where that
            has an address.
        address: of the storage, where it is not a folder that every node has.
        trainer: by Ray Train, else in this process.
        workers: that share each batch.
        gpus: of the whole trial.
    """

    key: str
    config: dict[str, Any]
    folder: str
    cache: str
    address: str = ""
    trainer: bool = False
    workers: int = 1
    gpus: float = 0.0


@dataclass(frozen=True)
class Place:
    """Where a trial's files lie on this node, and where they are brought to.

    Attributes:
        folder: the trial's.
        cache: of shared work.
        copy: of the storage, where it has an address.
        keeping: what is under way there.
    """

    folder: Path
    cache: Path
    copy: Mirror | None = None
    keeping: list[threading.Thread] = field(default_factory=list)

    @classmethod
    def of(cls, order: Order) -> Place:
        """An order's, on this node."""
        if not order.address:
            return cls(Path(order.folder), Path(order.cache))
        copy = working_copy(order.address)
        return cls(copy.local / order.folder, copy.local / order.cache, copy)

    def bring_snapshot(self) -> None:
        """What an earlier attempt left is here, whichever node it was on."""
        path = self.folder / SNAPSHOT
        if self.copy is not None and not patiently(self.copy, lambda copy: copy.pull(path)):
            path.unlink(missing_ok=True)

    def keep(self, path: Path) -> None:
        """A file that another attempt goes on from; without it that one has more to do, no more.

        Nobody waits for it: a trial that waits for a place that does not answer would look like one
        that hangs. While one is under way the next are left out.
        """
        if self.copy is None or any(thread.is_alive() for thread in self.keeping):
            return
        push = self.copy.push

        def bring() -> None:
            with contextlib.suppress(OSError):
                push(path)

        self.keeping[:] = [threading.Thread(target=bring, name="keeping", daemon=True)]
        self.keeping[0].start()

    def settle(self) -> None:
        """Nothing is under way there any more."""
        for thread in self.keeping:
            thread.join()

    def deliver(self) -> None:
        """All that a finished trial leaves; its result, by which it counts, last."""
        self.settle()
        if self.copy is not None:
            patiently(self.copy, lambda copy: copy.push(self.folder, last=RESULT, exact=True))

    def bring_result(self) -> bool:
        """What the workers left is here; whether they left it."""
        path = self.folder / RESULT
        if self.copy is None:
            return path.is_file()
        return patiently(self.copy, lambda copy: copy.pull(path))


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a trial failed.

    Attributes:
        cause: `user`, `non-finite`, `out of memory`, `worker lost`, `disk`, `storage` or `crash`.
        message: one line.
    """

    cause: str
    message: str


def execute(order: Order, report: Report, callbacks: list[Any] | None = None) -> Failure | None:
    """Runs a trial to its end; its folder then holds `result.json`, or the failure is returned.

    Args:
        order: the trial.
        report: told the metrics of every evaluation, where the trial runs in this process.
        callbacks: Ray Train's, which tell of the metrics where it does not.
    """
    try:
        place = Place.of(order)
    except (UserError, OSError) as error:
        return diagnose(error)
    try:
        _clear(place.folder, SNAPSHOT)
        if order.trainer:
            _by_trainer(order, place, callbacks or [])
        else:
            place.bring_snapshot()
            with signs_of_life(place.folder):
                _inline(order, place, report)
            place.deliver()
    except Exception as error:
        failure = diagnose(error)
        with contextlib.suppress(OSError):  # the disk, or the network, may be what failed
            _leave_failure(place, failure)
        return failure
    return None


def _leave_failure(place: Place, failure: Failure) -> None:
    """Leaves the traceback, and of the trial's own files what another attempt can use."""
    folder = place.folder
    if failure.cause == "disk":
        # what was cut short looks like a file, and takes room
        _clear(folder, SNAPSHOT)
    if failure.cause == "non-finite":
        # from there it would fail again
        (folder / SNAPSHOT).unlink(missing_ok=True)
        if place.copy is not None:
            place.settle()
            place.copy.remove(folder / SNAPSHOT)
    (folder / "error.txt").write_text(traceback.format_exc())
    if place.copy is not None:
        place.copy.push(folder / "error.txt")


def _clear(folder: Path, kept: str, *, signs: bool = True) -> None:
    """An empty folder, but for a file that an earlier attempt at the trial left.

    Args:
        folder: made where it is not there.
        kept: the file's name.
        signs: those of life go too, with all whose names begin with a dot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for each in folder.iterdir():
        if each.name.startswith(".") and not signs:
            continue
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        elif each.name != kept:
            each.unlink()


def diagnose(error: BaseException) -> Failure:
    """The cause of an exception, and its first line."""
    inner = _innermost(error)
    line = (str(inner).splitlines() or [""])[0] or type(inner).__name__
    match inner:
        case NonFiniteError():
            cause = "non-finite"
        case _ if is_disk_full(inner):
            cause = "disk"
        case StorageError():
            cause = "storage"
        case UserError():
            cause = "user"
        case MemoryError():
            cause = "out of memory"
        case _ if type(inner).__name__ == "OutOfMemoryError":
            cause = "out of memory"
        case _ if type(inner).__name__ in _LOST:
            cause, line = "worker lost", "a process of the trial died"
        case _:
            cause, line = "crash", f"{type(inner).__name__}: {line}"
    return Failure(cause=cause, message=line[:500])


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an exception, or one that it came from, says that there is no room."""
    if error is None:
        return False
    if isinstance(error, OSError) and error.errno in (28, 122):
        return True
    # safetensors and SQLite tell of it in words
    if re.search(r"os error (28|122)\b|disk is full|No space left", str(error)):
        return True
    return is_disk_full(error.__cause__ or error.__context__)


def _innermost(error: BaseException) -> BaseException:
    """Ray wraps a worker's exception: what the worker raised."""
    failures = getattr(error, "worker_failures", None)
    if failures:
        found = [_innermost(each) for each in failures.values()]
        # the others fail because of it
        lost = [each for each in found if type(each).__name__ in _LOST]
        return (lost or found)[0]
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException) and cause is not error:
        return _innermost(cause)
    return error


def _inline(order: Order, place: Place, report: Report) -> None:
    import torch

    from trainables.training.context import Context
    from trainables.trial import run_trial

    device = torch.device("cuda" if order.gpus and torch.cuda.is_available() else "cpu")
    context = Context(
        folder=place.folder, cache=place.cache, device=device, report=report, kept=place.keep
    )
    run_trial(from_dict(order.config), context)


def _by_trainer(order: Order, place: Place, callbacks: list[Any]) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    per_worker = {"CPU": resources.WORKER_CPUS}
    if order.gpus:
        per_worker["GPU"] = order.gpus / order.workers
    trainer = TorchTrainer(
        _worker,
        train_loop_config=asdict(order),
        scaling_config=ScalingConfig(
            num_workers=order.workers,
            use_gpu=bool(order.gpus),
            resources_per_worker=per_worker,
        ),
        run_config=RunConfig(
            name=order.key,
            **_of_train(place),
            callbacks=callbacks,
            # by default Ray Train would start a group that failed again, for ever
            failure_config=FailureConfig(max_failures=0),
        ),
    )
    trainer.fit()
    if not place.bring_result():
        raise RuntimeError("the workers ended without a result")


def _of_train(place: Place) -> dict[str, Any]:
    """Where Ray Train keeps what it needs, which every node reaches."""
    folder = place.folder.absolute().parent.parent / "train"
    if place.copy is None:
        return {"storage_path": str(folder)}
    remote = place.copy.remote
    return {
        "storage_path": remote.path(place.copy.name(folder)),
        "storage_filesystem": remote.filesystem,
    }


def _worker(values: dict[str, Any]) -> None:
    """One of the processes that share a trial's batches."""
    import ray.train
    import ray.train.torch

    from trainables.training.context import Context
    from trainables.trial import run_trial
    from trainables.utils.distributed import World

    order = Order(**values)
    place = Place.of(order)
    ours = ray.train.get_context()
    world = World(ours.get_world_rank(), ours.get_world_size())
    context = Context(
        folder=place.folder,
        cache=place.cache,
        device=ray.train.torch.get_device(),
        world=world,
        parallelise=ray.train.torch.prepare_model,
        report=lambda metrics: ray.train.report(dict(metrics)),
        kept=place.keep,
    )
    if place.copy is not None and world.rank == 0:
        # the trial's own process has cleared it on its node alone
        _clear(place.folder, SNAPSHOT, signs=False)
    place.folder.mkdir(parents=True, exist_ok=True)
    place.bring_snapshot()
    with (
        signs_of_life(place.folder, world.rank),
        signs_from_afar(place.folder, world.rank, world.size, place.copy),
    ):
        run_trial(from_dict(order.config), context)
    if world.rank == 0:
        place.deliver()


def read_result(folder: Path) -> dict[str, Any]:
    """The `result.json` of a finished trial.

    Raises:
        OSError: there is none.
        ValueError: it is damaged or was altered.
    """
    return read_sealed(folder / RESULT)
