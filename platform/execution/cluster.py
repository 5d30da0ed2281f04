"""Starts Ray on this machine, quietly, or joins a cluster that runs; and leaves it again."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from platform.execution import packaging
from platform.plan.resources import Machine
from trainables.utils.errors import UserError
from trainables.utils.object_store import Mirror, working_copy
from trainables.utils.text import one_line

# what Ray reads in the processes of trials
OF_WORKERS = {
    # the default of 2 s is the tail of every trial that starts workers
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
# set before Ray is imported, which reads most of them at import
_ENVIRONMENT = {
    **OF_WORKERS,
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
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray's, in the driver of a submitted job
_ANSWER_S, _KNOCK_S = 60.0, 10.0
_OF_TOKENS = re.compile(r"[Aa]uthenticat|[Tt]oken|\b40[13]\b")
AUTH_REMEDY = (
    "export RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) as on its head node, or RAY_AUTH_MODE=disabled "
    "for a cluster that asks for none"
)


class ClusterError(UserError):
    """A cluster that cannot be joined, or that a sweep cannot run on."""


class StartError(RuntimeError):
    """A Ray of a sweep's own that did not come up. No fault of what the user gave."""


@contextmanager
def local(cpus: int, gpus: int, *, debug: bool = False) -> Iterator[None]:
    """A Ray of this sweep's own on this machine, for the time of the block.

    Args:
        cpus: that it may schedule.
        gpus: that it may schedule.
        debug: lets Ray's own log through.

    Raises:
        StartError: it does not come up.
    """
    _prepare()
    # workers import the packages from where the driver did, installed or not
    root = str(packaging.ROOT)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    try:
        try:
            _start(debug, address="local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False)
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
                if _JOB in os.environ:  # its processes have what was submitted with it
                    _start(debug, address=address)
                else:
                    with packaging.packed() as folder:
                        sent = {"working_dir": str(folder), "env_vars": dict(OF_WORKERS)}
                        _start(debug, address=address, runtime_env=sent)
            finally:
                kept.seek(0)
                said = kept.read()
    except Exception as error:  # Ray's own, and those of the network and of its parts
        raise ClusterError(f"--address {address}: {reason(error, said)}") from error


def _knock(address: str) -> None:
    """Finds at once what Ray finds after a minute, and then ends this process for: nobody there.

    Raises:
        OSError: nobody listens there.
        ValueError: it is no address.
    """
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()
    elif address != "auto":
        raise ValueError("it is neither HOST:PORT nor auto")


@contextmanager
def _errors_kept(debug: bool) -> Iterator[IO[str]]:
    """Keeps what Ray's parts write to the standard error stream past Python for the time."""
    with tempfile.TemporaryFile("w+", errors="replace") as kept:
        before = os.dup(2)
        if not debug:
            os.dup2(kept.fileno(), 2)
        try:
            yield kept
        finally:
            os.dup2(before, 2)
            os.close(before)


@contextmanager
def joined() -> Iterator[None]:
    """The cluster that `join` has joined, for the time of the block."""
    try:
        yield
    finally:
        leave()


def leave() -> None:
    """Ends this process's part in Ray; one that it started itself stops."""
    import ray

    ray.shutdown()


def machines() -> tuple[Machine, ...]:
    """The nodes that the cluster has now."""
    import ray

    return tuple(
        Machine(
            cpus=int(node["Resources"].get("CPU", 0)),
            gpus=int(node["Resources"].get("GPU", 0)),
            memory=int(node["Resources"].get("memory", 0)),
            name=f"node {node['NodeManagerAddress']}",
        )
        for node in ray.nodes()
        if node["Alive"]
    )


def check_storage(storage: Path) -> None:
    """Finds whether every node reaches the storage folder, and writes to it.

    Raises:
        ClusterError: which nodes do not.
    """
    if (mirror := Mirror.of(storage)) is not None:
        _check_address(mirror.address)
        return
    mark = storage / f".reached-{os.getpid()}"
    mark.mkdir(exist_ok=True)
    try:
        lacking = [
            address
            for address, reached in on_every_node(_reaches, str(mark)).items()
            if reached is not True
        ]
    finally:
        for path in mark.iterdir():
            path.unlink(missing_ok=True)
        mark.rmdir()
    if lacking:
        raise ClusterError(
            f"--storage {storage} is not one folder on every node of the cluster: "
            f"{', '.join(lacking[:4])} cannot write to the driver's; mount it by the same path"
        )


def _check_address(address: str) -> None:
    for node, said in on_every_node(_reaches_address, address).items():
        if said:
            raise ClusterError(f"node {node}: {said}")


def _reaches_address(address: str) -> str:
    try:
        working_copy(address).remote.check()
    except UserError as error:
        return str(error)
    return ""


def _reaches(folder: str) -> bool:
    import uuid

    try:
        # not made here: a folder of this node's own would not be the driver's
        (Path(folder) / uuid.uuid4().hex).touch()
    except OSError:
        return False
    return True


def on_every_node(function: Callable[..., Any], *values: Any) -> dict[str, Any]:
    """What a function returns on each node, by the node's address; an exception where it raised."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(function)
    asked = {}
    for number, node in enumerate(node for node in ray.nodes() if node["Alive"]):
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        name = f"{node['NodeManagerAddress']} (node {number + 1})"
        asked[name] = remote.options(scheduling_strategy=there).remote(*values)
    found: dict[str, Any] = {}
    for name, reference in asked.items():
        try:
            found[name] = ray.get(reference, timeout=_ANSWER_S)
        except Exception as error:  # of the function, or of a node that has just gone
            found[name] = error
    return found


def beside_driver() -> Any:
    """Where an actor lasts as long as this process: on its own node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    return NodeAffinitySchedulingStrategy(here, soft=False)


def reason(error: BaseException, said: str = "") -> str:
    """Why a cluster cannot be used, in a line, with the remedy where it is known.

    Args:
        error: Ray's, or the network's.
        said: what else was said of it.
    """
    line = one_line(error)
    if _OF_TOKENS.search(f"{line} {said}"):
        return f"the cluster wants a token that it knows: {AUTH_REMEDY}"
    if isinstance(error, OSError | ValueError | RuntimeError):
        return f"no cluster answers there ({line}); ray start --head starts one"
    return f"{type(error).__name__}: {line}"


def probe() -> float:
    """Seconds that a task on the running Ray takes to answer.

    Raises:
        Exception: Ray's own, where it does not answer within a minute.
    """
    import ray

    began = time.monotonic()
    ray.get(ray.remote(num_cpus=0)(lambda: None).remote(), timeout=_ANSWER_S)
    return time.monotonic() - began


def _prepare() -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _start(debug: bool, **options: Any) -> None:
    import ray

    terminate = signal.getsignal(signal.SIGTERM)
    level = logging.INFO if debug else logging.ERROR
    try:
        ray.init(log_to_driver=debug, logging_level=level, **options)
    finally:
        # Ray's own handler aborts the driver, with nothing recorded
        with contextlib.suppress(ValueError):  # not of the main thread
            signal.signal(signal.SIGTERM, terminate)
        # a submitted job's driver is started with Ctrl-C blocked, and could not be stopped
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
