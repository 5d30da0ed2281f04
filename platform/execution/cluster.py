"""Starts Ray on this machine, quietly, or joins a cluster that runs, and leaves it again."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import IO, Any

from platform.execution import ray_internals
from platform.storage.environment import COMMIT, ROOT, git_state
from trainables.utils.errors import UserError
from trainables.utils.text import one_line

# Ray reads these in the processes of trials
WORKER_ENVIRONMENT = {
    # the default of 2 s is the tail of every trial that starts workers
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
# these are set before Ray is imported, which reads most of them at import
_ENVIRONMENT = {
    **WORKER_ENVIRONMENT,
    # a local sweep has one user and one machine: usage reports and metrics agents only cost time
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DEDUP_LOGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_THRESHOLD_S": "10",
    # the default of 60 s is how long a driver waits for a Ray that was killed with it
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
}
_KNOCK_S = 10.0
# what a cluster needs to run this program: its packages, and little beside
_PACKAGES = ("platform", "trainables", "search_spaces", "analysis")
# the bridge makes `platform.sweep` importable; the other two say with what it should run
_BESIDE = ("_platform_bridge.py", "_platform_bridge.pth", "pyproject.toml", "requirements.lock")
AUTH_REMEDY = (
    "export RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) as on its head node, or RAY_AUTH_MODE=disabled "
    "for a cluster that asks for none"
)


class ClusterError(UserError):
    """A cluster cannot be joined, or a sweep cannot run on it."""


class StartError(RuntimeError):
    """A Ray of a sweep's own did not come up, by no fault of what the user gave."""


@contextlib.contextmanager
def local(cpus: int, gpus: int, *, debug: bool = False) -> Iterator[None]:
    """Runs a Ray of this sweep's own on this machine for the time of the block.

    Args:
        cpus: how many CPUs it may schedule.
        gpus: how many GPUs it may schedule.
        debug: lets Ray's own log through.

    Raises:
        StartError: it does not come up.
    """
    _prepare()
    # workers import the packages from where the driver did, installed or not
    root = str(ROOT)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    try:
        try:
            with _putting_off_ctrl_c():
                _start(
                    debug, address="local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False
                )
        except Exception as error:  # Ray's own, of whichever part did not come up
            raise StartError(
                f"Ray did not start on this machine ({one_line(error)}): it waits 30 s, which one "
                "under heavy load exceeds; nothing is lost, and --resume goes on"
            ) from error
        yield
    finally:
        leave()


def join(address: str, *, debug: bool = False) -> None:
    """Makes this process a driver on a cluster that runs, until `leave`.

    Nodes get the packages from here, whether or not they have them installed.

    Args:
        address: of the cluster's head, `HOST:PORT`; `auto` for the one of this machine or job.
        debug: lets Ray's own log through.

    Raises:
        ClusterError: it does not answer, or refuses; with the remedy.
    """
    if "://" in address:
        raise ClusterError(
            f"--address {address}: a sweep runs on a node of the cluster and takes HOST:PORT or "
            "auto there; from elsewhere, python -m platform.submit takes the dashboard's http://"
        )
    _prepare()
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")
    said = ""
    try:
        _knock(address)
        with _errors_kept(debug) as kept:
            try:
                if ray_internals.JOB_VARIABLE in os.environ:
                    _start(debug, address=address)  # its processes have what was submitted with it
                else:
                    with packed() as folder:
                        sent = {"working_dir": str(folder), "env_vars": dict(WORKER_ENVIRONMENT)}
                        _start(debug, address=address, runtime_env=sent)
            finally:
                kept.seek(0)
                said = kept.read()
    except Exception as error:  # Ray's own, and those of the network and of its parts
        raise ClusterError(f"--address {address}: {reason(error, said)}") from error


def _knock(address: str) -> None:
    """Finds whether anyone listens, at once: Ray takes a minute, and then ends this process.

    Raises:
        OSError: nobody listens there.
        ValueError: it is no address.
    """
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()
    elif address != "auto":
        raise ValueError("it is neither HOST:PORT nor auto")


@contextlib.contextmanager
def _errors_kept(debug: bool) -> Iterator[IO[str]]:
    """Keeps what Ray writes to the standard error stream past Python during the block."""
    with tempfile.TemporaryFile("w+", errors="replace") as kept:
        before = os.dup(2)
        if not debug:
            os.dup2(kept.fileno(), 2)
        try:
            yield kept
        finally:
            os.dup2(before, 2)
            os.close(before)


def leave() -> None:
    """Ends this process's part in Ray; one that it started itself stops."""
    # not imported here: where Ctrl-C has cut its import short, another would fail
    ray = sys.modules.get("ray")
    if ray is not None:
        ray.shutdown()


def reason(error: BaseException, said: str = "") -> str:
    """Returns why a cluster cannot be used, in a line, with the remedy where it is known.

    Args:
        error: Ray's, or the network's.
        said: what Ray wrote to the standard error stream meanwhile.
    """
    line = one_line(error)
    if ray_internals.is_about_tokens(f"{line} {said}"):
        return f"the cluster wants a token that it knows: {AUTH_REMEDY}"
    if isinstance(error, OSError | ValueError | RuntimeError):
        return f"no cluster answers there ({line}); ray start --head starts one"
    return f"{type(error).__name__}: {line}"


def _prepare() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def _putting_off_ctrl_c() -> Iterator[None]:
    """Lets Ctrl-C wait for the end of the block; a second one does not wait.

    An import that it cuts short may leave a lock held, for which the record's threads then wait;
    and where Ray starts, it may be lost.
    """
    asked: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def put_off(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1:
            before(number, frame)

    signal.signal(signal.SIGINT, put_off)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if asked:
            signal.raise_signal(signal.SIGINT)


def _start(debug: bool, **options: Any) -> None:
    import ray

    terminate = signal.getsignal(signal.SIGTERM)
    level = logging.INFO if debug else logging.ERROR
    try:
        ray.init(log_to_driver=debug, logging_level=level, **options)
    except SystemExit:  # Ray's own answer to SIGTERM until the line below takes its place
        raise KeyboardInterrupt from None
    finally:
        # Ray's own handler aborts the driver, with nothing recorded
        with contextlib.suppress(ValueError):  # not of the main thread
            signal.signal(signal.SIGTERM, terminate)
        # a submitted job's driver is started with Ctrl-C blocked, and could not be stopped
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextlib.contextmanager
def packed(study_file: Path | None = None) -> Iterator[Path]:
    """Yields a folder with all that a node needs beside the dependencies; removes it afterwards.

    Args:
        study_file: the user's own study, copied to the top of the folder; None for none.
    """
    with tempfile.TemporaryDirectory(prefix="unlearn-") as temporary:
        folder = Path(temporary)
        for name in _PACKAGES:
            shutil.copytree(ROOT / name, folder / name, ignore=_leave_out)
        for name in _BESIDE:
            if (ROOT / name).is_file():
                shutil.copyfile(ROOT / name, folder / name)
        (folder / COMMIT).write_text(json.dumps(git_state()))
        if study_file is not None:
            shutil.copyfile(study_file, folder / study_file.name)
        yield folder


def _leave_out(folder: str, names: list[str]) -> set[str]:
    """Returns what Python, an editor or a system keeps beside the files of a package."""
    return {name for name in names if name.startswith(".") or name == "__pycache__"}
