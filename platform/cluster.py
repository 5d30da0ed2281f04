"""Starts Ray on this machine, quietly, and stops it."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# set before Ray is imported, which reads most of them at import
_ENVIRONMENT = {
    # a local sweep has one user and one machine: usage reports and metrics agents only cost time
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # the default of 2 s is the tail of every trial that starts workers
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_THRESHOLD_S": "10",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # the default of 60 s is how long a driver waits for a Ray that was killed with it
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    # the newer output prints a banner even when told to be silent
    "RAY_AIR_NEW_OUTPUT": "0",
}


@contextmanager
def local(cpus: int, gpus: int, *, debug: bool = False) -> Iterator[None]:
    """A Ray of this sweep's own on this machine, for the time of the block.

    Args:
        cpus: that it may schedule.
        gpus: that it may schedule.
        debug: lets Ray's own log through.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # workers import the packages from where the driver did, installed or not
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    import ray

    terminate = signal.getsignal(signal.SIGTERM)
    ray.init(
        address="local",
        num_cpus=cpus,
        num_gpus=gpus,
        include_dashboard=False,
        log_to_driver=debug,
        logging_level=logging.INFO if debug else logging.ERROR,
    )
    try:
        # Ray's own handler aborts the driver, with nothing recorded
        signal.signal(signal.SIGTERM, terminate)
        yield
    finally:
        ray.shutdown()


def probe() -> float:
    """Seconds that a task on the running Ray takes to answer.

    Raises:
        Exception: Ray's own, where it does not answer within a minute.
    """
    import ray

    began = time.monotonic()
    ray.get(ray.remote(num_cpus=0)(lambda: None).remote(), timeout=60)
    return time.monotonic() - began
