"""Sends a sweep to a Ray cluster as a job, follows its log and tells how it ended."""

from __future__ import annotations

import logging
import os
import re
import shlex
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from platform.cli.messages import SUBMITTED_TO, interpreter, tell
from platform.cli.request import Request, attempt, parse_sweep
from platform.execution import cluster
from platform.plan.study_loader import is_file
from trainables.utils.addresses import is_address, refuse_secret
from trainables.utils.errors import FAILED, FINISHED, INTERRUPTED, ConfigError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

_LOCAL = "http://127.0.0.1:8265"
_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")
# a sweep that is stopped ends its trials, its record and its table before it goes
_STOP_S = "60"
_LOOK_S = 1.0
_PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A sweep to be run as a job.

    Attributes:
        address: the address of the cluster's dashboard.
        detach: whether this process ends once the job is submitted.
        python: the interpreter on the head node.
        arguments: the sweep's arguments, as they are on the cluster.
        study_file: the user's own study, which is sent along; None for a study of the product.
        request: the sweep's arguments, parsed.
    """

    address: str
    detach: bool
    python: str
    arguments: tuple[str, ...]
    study_file: Path | None
    request: Request

    @property
    def entrypoint(self) -> str:
        """The shell command that the job is; `exec` makes the sweep what a stop signals."""
        words = [self.python, "-m", "platform.sweep", *self.arguments]
        return f"exec {shlex.join([*words, '--address', 'auto'])}"

    def again(self) -> str:
        """Returns the command that goes on with this sweep."""
        request = self.request
        words = [interpreter(), "-m", "platform.submit", "--resume"]
        for option, value in (
            ("--name", request.name),
            ("--storage", request.storage),
            ("--tracking-uri", request.tracking_uri),
        ):
            words += [option, value] if value else []
        return shlex.join([*words, "--address", self.address])


def read(arguments: Sequence[str]) -> Submission:
    """Returns the submission that the arguments ask for.

    Raises:
        ConfigError: every fault that can be found without the cluster's data, together.
    """
    own, rest, missing = _own(arguments)
    request, faults = parse_sweep(rest)
    address = own.get("--address") or os.environ.get("RAY_API_SERVER_ADDRESS", "").strip() or _LOCAL
    faults += [*missing, *_problems(address, request)]
    study_file = Path(request.study) if request.study and is_file(request.study) else None
    if study_file is not None:
        if not study_file.is_file():
            faults.append(f"{study_file} is not a file")
        rest = [study_file.name if text == request.study else text for text in rest]
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    return Submission(
        address=address,
        detach="--detach" in own,
        python=own.get("--python") or "python",
        arguments=tuple(rest),
        study_file=study_file,
        request=request,
    )


def _own(arguments: Sequence[str]) -> tuple[dict[str, str], list[str], list[str]]:
    """Returns the submission's options by name, the sweep's arguments, and options at fault."""
    own, rest, faults = {}, [], []
    left = deque(arguments)
    while left:
        text = left.popleft()
        name, equals, value = text.partition("=")
        if name in own and text != "--detach":
            faults.append(f"{name} is given twice")
        if text == "--detach":
            own[name] = "yes"
        elif name not in ("--address", "--python"):
            rest.append(text)
        elif equals and value:
            own[name] = value
        elif not equals and left and not left[0].startswith("--"):
            own[name] = left.popleft()
        else:
            faults.append(f"{name} needs a value")
    return own, rest, faults


def _problems(address: str, request: Request) -> list[str]:
    """Returns a line for each option that no job of a cluster can have."""
    if request.list or request.fields:
        return ["--list and --fields need no cluster: python -m platform.sweep shows both"]
    faults = []
    if not address.startswith(("http://", "https://")):
        faults.append(
            f"--address {address} is not the cluster's dashboard, such as {_LOCAL}; a node of the "
            "cluster takes HOST:PORT by python -m platform.sweep"
        )
    if not (Path(request.storage).is_absolute() or is_address(request.storage)):
        faults.append(
            "--storage names a folder that every node has by the same path, from / on: what lies "
            "elsewhere is lost with the job"
        )
    if request.tracking_uri and _PASSWORD.search(request.tracking_uri):
        faults.append(
            "--tracking-uri holds a password, and Ray shows a job's command to all who see its "
            "dashboard: leave it out, and set it in the environment of the head node"
        )
    if is_address(request.storage):
        attempt(faults, lambda: refuse_secret(request.storage))
    return faults


def submit(submission: Submission, stream: TextIO) -> int:
    """Submits the job, tells how it is watched, stopped and resumed, and follows its log.

    Args:
        submission: the sweep, and where it is to run.
        stream: where the messages and the log are written.

    Returns:
        The exit status: the sweep's; 0 where it is not followed; 130 where it was stopped, or is no
        longer followed.

    Raises:
        ClusterError: the cluster does not answer, or refuses.
    """
    client = _client(submission.address)
    with cluster.packed(submission.study_file) as folder:
        job = _submitted(client, submission, folder)
    watch_and_stop = [
        f"  to watch   ray job logs --follow --address {submission.address} {job}",
        f"  to stop    ray job stop --address {submission.address} {job}",
    ]
    begun = f"Job {job} is submitted to {submission.address}."
    tell(stream, [begun, *watch_and_stop, f"  to resume  {submission.again()}", ""])
    if submission.detach:
        return FINISHED
    try:
        return _followed(client, job, stream)
    except KeyboardInterrupt:
        tell(stream, ["", f"Job {job} goes on, and is no longer followed.", *watch_and_stop])
        return INTERRUPTED


def _submitted(client: JobSubmissionClient, submission: Submission, folder: Path) -> str:
    """Submits the job and returns its name; a head that has just started is asked for a minute."""
    variables = {
        **cluster.WORKER_ENVIRONMENT,
        "RAY_JOB_STOP_WAIT_TIME_S": _STOP_S,
        SUBMITTED_TO: submission.address,
    }
    sent = {"working_dir": str(folder), "env_vars": variables}
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return str(client.submit_job(entrypoint=submission.entrypoint, runtime_env=sent))
        except Exception as error:  # Ray raises RuntimeError, and what the network raises
            if "No available agent" not in str(error):
                raise _refused(submission.address, error) from error
            if time.monotonic() > until:
                raise cluster.ClusterError(
                    f"--address {submission.address}: the head node has no agent that takes jobs; "
                    "dashboard_agent.log there says why, such as a port that is in use"
                ) from error
        time.sleep(_LOOK_S)


def _client(address: str) -> JobSubmissionClient:
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.job_submission import JobSubmissionClient

    # Ray sets the level of its own loggers when it is imported
    for name in ("ray", "ray.dashboard.modules.dashboard_sdk"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return JobSubmissionClient(address)
    except Exception as error:  # as in `_submitted`
        raise _refused(address, error) from error


def _refused(address: str, error: Exception) -> cluster.ClusterError:
    return cluster.ClusterError(f"--address {address}: {cluster.reason(error)}")


def _followed(client: JobSubmissionClient, job: str, stream: TextIO) -> int:
    """Shows the job's log as it grows; returns the exit status of its command.

    The whole log is read each time and what is new of it is shown, so nothing is repeated after a
    connection has broken.

    Raises:
        ClusterError: the cluster has not answered for a minute.
    """
    shown, answered = 0, time.monotonic()
    while True:
        try:
            found = client.get_job_info(job)
            log = client.get_job_logs(job) or ""
            answered = time.monotonic()
        except Exception as error:  # as in `_submitted`; it may come back
            if time.monotonic() - answered > _PATIENCE_S:
                raise _refused(client.get_address(), error) from error
            time.sleep(_LOOK_S)
            continue
        stream.write(log[shown:])
        stream.flush()
        shown = max(shown, len(log))
        if found.status.is_terminal():
            return _status(found, job, stream)
        time.sleep(_LOOK_S)


def _status(found: JobDetails, job: str, stream: TextIO) -> int:
    """Returns the exit status of a job that has ended; tells why where the job gave none."""
    if found.driver_exit_code is not None:
        return int(found.driver_exit_code)
    if found.status == "SUCCEEDED":
        return FINISHED
    if found.status == "STOPPED":
        stream.write(f"Job {job} was stopped.\n")
        return INTERRUPTED
    stream.write(f"Job {job} failed: {found.message}\n")
    return FAILED
