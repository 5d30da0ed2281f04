"""Runs one trial in this process, and leaves its files where the driver and other nodes find them.

`attempt` surrounds every trial, whichever way it runs; `ray_train` runs one on several workers.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platform.execution.failures import Cause, Failure, diagnose
from platform.execution.heartbeat import signs_of_life
from trainables.config.names import RESULT, SNAPSHOT
from trainables.config.overrides import from_dict
from trainables.utils.errors import UserError
from trainables.utils.files import make_folder
from trainables.utils.hashing import read_sealed
from trainables.utils.object_store import Mirror, working_copy
from trainables.utils.waiting import patiently, waiting

Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class TrialOrder:
    """Tells a process which trial it runs and where, in plain values.

    Attributes:
        key: the trial's.
        config: nested, as `trainables.config.to_dict` makes it.
        folder, cache: where it writes and where shared work lies; below the storage where that
            has an address.
        address: of the storage, where it is not a folder that every node has.
        trainer: whether Ray Train runs it on workers, instead of this process.
        workers: how many processes share each batch.
        gpus: of the whole trial.
        ahead: whether the process builds the shared work that the trial needs, and no more.
    """

    key: str
    config: dict[str, Any]
    folder: str
    cache: str
    address: str = ""
    trainer: bool = False
    workers: int = 1
    gpus: float = 0.0
    ahead: bool = False


class TrialFiles:
    """Holds a trial's folders on this node, and copies its files to and from the storage's address.

    Where the storage is a folder that every node has, nothing is copied.

    Args:
        order: the trial.

    Attributes:
        folder: the trial's, on this node.
        cache: of shared work, on this node.
        mirror: copies between this node and the storage's address; None where it has none.

    Raises:
        UserError: the address cannot be used.
        OSError: this node's folder cannot be made.
    """

    def __init__(self, order: TrialOrder) -> None:
        self.folder, self.cache = Path(order.folder), Path(order.cache)
        self.mirror: Mirror | None = None
        if order.address:
            self.mirror = working_copy(order.address)
            self.folder = self.mirror.local / order.folder
            self.cache = self.mirror.local / order.cache
        self._upload: threading.Thread | None = None

    def fetch_snapshot(self) -> None:
        """Copies the snapshot of an earlier attempt to this node, whichever node that was on."""
        path = self.folder / SNAPSHOT
        if self.mirror is not None and not patiently(self.mirror, lambda mirror: mirror.pull(path)):
            path.unlink(missing_ok=True)

    def upload(self, path: Path) -> None:
        """Begins to copy a file that another attempt goes on from to the storage's address.

        Nobody waits for it. While one file is under way the next are left out; without them another
        attempt has more to do, and comes to the same figures.
        """
        if self.mirror is None or (self._upload is not None and self._upload.is_alive()):
            return
        push = self.mirror.push

        def copy() -> None:
            with contextlib.suppress(OSError):
                push(path)

        self._upload = threading.Thread(target=copy, name="upload", daemon=True)
        self._upload.start()

    def wait_for_upload(self) -> None:
        """Returns once no file is under way any more."""
        if self._upload is not None:
            with waiting():
                self._upload.join()

    def deliver(self) -> None:
        """Copies all that a finished trial leaves; its result, by which it counts, comes last."""
        self.wait_for_upload()
        if self.mirror is not None:
            patiently(self.mirror, lambda mirror: mirror.push(self.folder, last=RESULT, exact=True))

    def fetch_result(self) -> bool:
        """Copies the result that the workers left to this node; returns whether they left it."""
        path = self.folder / RESULT
        if self.mirror is None:
            return path.is_file()
        return patiently(self.mirror, lambda mirror: mirror.pull(path))

    def clear(self, *, hidden: bool = True) -> None:
        """Makes the trial's folder and empties it, but for the snapshot of an earlier attempt.

        Args:
            hidden: removes files whose names begin with a dot as well, such as signs of life;
                what a killed write left goes in any case.
        """
        make_folder(self.folder)
        for path in self.folder.iterdir():
            if path.name.startswith(".") and path.suffix != ".part" and not hidden:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != SNAPSHOT:
                path.unlink()


def execute(order: TrialOrder, report: Report) -> Failure | None:
    """Runs a trial in this process.

    Args:
        order: the trial.
        report: is told the metrics of every evaluation.

    Returns:
        As `attempt`.
    """
    return attempt(order, lambda files: _run(order, files, report))


def attempt(order: TrialOrder, run: Callable[[TrialFiles], None]) -> Failure | None:
    """Runs a trial to its end, by whatever means.

    Args:
        order: the trial.
        run: runs it in the folder that it is given, which holds at most a snapshot.

    Returns:
        None where the trial's folder holds `result.json`; else why it does not.
    """
    try:
        files = TrialFiles(order)
    except (UserError, OSError) as error:
        return diagnose(error)
    try:
        files.clear()
        run(files)
    except Exception as error:
        failure = diagnose(error)
        with contextlib.suppress(OSError):  # the disk, or the network, may be what failed
            _leave_failure(files, failure)
        return failure
    return None


def read_result(folder: Path) -> dict[str, Any]:
    """Returns the `result.json` of a finished trial.

    Raises:
        OSError: there is none.
        ValueError: it is damaged or was altered.
    """
    return read_sealed(folder / RESULT)


def _run(order: TrialOrder, files: TrialFiles, report: Report) -> None:
    with signs_of_life(files.folder):
        files.fetch_snapshot()
        _train(order, files, report)
        files.deliver()


def _train(order: TrialOrder, files: TrialFiles, report: Report) -> None:
    import torch

    from trainables.training.context import Context
    from trainables.trial import run_trial

    require_gpu(order)
    device = torch.device("cuda" if order.gpus else "cpu")
    context = Context(
        folder=files.folder, cache=files.cache, device=device, report=report, kept=files.upload
    )
    run_trial(from_dict(order.config), context, planned=True)


def require_gpu(order: TrialOrder) -> None:
    """Refuses a trial that asks for a GPU where torch sees none: it would run on the CPU.

    Raises:
        UserError: it sees none.
    """
    import torch

    if order.gpus and not torch.cuda.is_available():
        raise UserError(
            f"--gpus-per-trial {order.gpus:g}: torch {torch.__version__} sees no GPU here; "
            "python -m platform.doctor says why"
        )


def _leave_failure(files: TrialFiles, failure: Failure) -> None:
    """Leaves the traceback, and of the trial's own files those that another attempt can use."""
    snapshot = files.folder / SNAPSHOT
    if failure.cause is Cause.DISK:
        # a file that was cut short looks like a whole one, and takes room
        files.clear()
    if failure.cause is Cause.NON_FINITE:
        # from there it would fail again
        snapshot.unlink(missing_ok=True)
        if files.mirror is not None:
            files.wait_for_upload()
            files.mirror.remove(snapshot)
    trace = files.folder / "error.txt"
    trace.write_text(traceback.format_exc())
    if files.mirror is not None:
        files.mirror.push(trace)
