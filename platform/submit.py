"""`python -m platform.submit [SWEEP'S ARGUMENTS] --address URL`: a sweep as a job of a Ray cluster.

The cluster is sent the program and the user's study file, and nothing else. Exit status: the
command's own (see `platform.sweep`); 2 the user's mistake; 130 the job was stopped, or is no longer
followed.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from platform.cli.request import Request
from platform.cli.summary import SUBMITTED_TO, interpreter
from platform.execution import cluster, packaging
from platform.plan.study_loader import is_file
from platform.sweep import fault_lines, parse
from trainables.utils.addresses import is_address, refuse_secret
from trainables.utils.errors import ConfigError, UserError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

_LOCAL = "http://127.0.0.1:8265"
_PASSWORD = re.compile(r"://[^/@]*:[^/@]*@")
# a sweep that is stopped ends its trials, its record and its table before it goes
_STOP_S = "60"
_LOOK_S = 1.0
_PATIENCE_S = 60.0
_INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What is asked for.

    Attributes:
        address: of the cluster's dashboard.
        detach: end once the job is submitted.
        python: the interpreter on the head node.
        arguments: of the sweep, as they are on the cluster.
        study_file: the user's own, which goes along; None where the study is the product's.
        request: what the arguments say.
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
        """The command that goes on with this sweep."""
        request = self.request
        words = [interpreter(), "-m", "platform.submit", "--resume"]
        for option, value in (
            ("--name", request.name),
            ("--storage", request.storage),
            ("--tracking-uri", request.tracking_uri),
        ):
            words += [option, value] if value else []
        return shlex.join([*words, "--address", self.address])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        return submit(read(arguments), sys.stdout)
    except UserError as error:
        for line in fault_lines(getattr(error, "problems", [str(error)])):
            print(f"error: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted before anything was submitted", file=sys.stderr)
        return _INTERRUPTED


def read(arguments: Sequence[str]) -> Submission:
    """What the arguments ask for.

    Raises:
        ConfigError: every fault that can be found without the cluster's data, together.
    """
    own, rest = _own(arguments)
    request, faults = parse(rest)
    faults += own.pop("faults")
    address = own["address"] or _usual_address()
    if not address.startswith(("http://", "https://")):
        faults.append(
            f"--address {address} is not the cluster's dashboard, such as {_LOCAL}; a node of the "
            "cluster takes HOST:PORT by python -m platform.sweep"
        )
    storage = next((text for text in rest if text.partition("=")[0] == "--storage"), None)
    if storage is None or not (Path(request.storage).is_absolute() or is_address(request.storage)):
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
        try:
            refuse_secret(request.storage)
        except UserError as error:
            faults.append(str(error))
    study_file = None
    if request.study and is_file(request.study):
        study_file = Path(request.study)
        if not study_file.is_file():
            faults.append(f"{study_file} is not a file")
        rest = [study_file.name if text == request.study else text for text in rest]
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))
    return Submission(
        address=address,
        detach=bool(own["detach"]),
        python=own["python"] or "python",
        arguments=tuple(rest),
        study_file=study_file,
        request=request,
    )


def _own(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The options that are of the submission, and the arguments that are of the sweep."""
    own: dict[str, Any] = {"address": None, "python": None, "detach": False, "faults": []}
    rest, left = [], list(arguments)
    while left:
        name, equals, value = left.pop(0).partition("=")
        if name == "--detach" and not equals:
            own["detach"] = True
        elif name in ("--address", "--python"):
            if not equals and (not left or left[0].startswith("--")):
                own["faults"].append(f"{name} needs a value")
                continue
            own[name.removeprefix("--")] = value if equals else left.pop(0)
        else:
            rest.append(name + equals + value)
    return own, rest


def _usual_address() -> str:
    return os.environ.get("RAY_API_SERVER_ADDRESS", "").strip() or _LOCAL


def submit(asked: Submission, stream: TextIO) -> int:
    """Submits the job, tells how it is watched, stopped and resumed, and follows its log.

    Args:
        asked: what to submit, and where.
        stream: for what is told and the log.

    Returns:
        The exit status: the sweep's; 0 where it is not followed; 130 where it was stopped, or is no
        longer followed.

    Raises:
        ClusterError: the cluster does not answer, or refuses.
    """
    client = _client(asked.address)
    with packaging.packed(asked.study_file) as folder:
        job = _submitted(client, asked, folder)
    told = {
        "watch": f"ray job logs --follow --address {asked.address} {job}",
        "stop": f"ray job stop --address {asked.address} {job}",
        "resume": asked.again(),
    }
    lines = [f"Job {job} is submitted to {asked.address}."]
    stream.write("\n".join([*lines, *_shown(told, "watch", "stop", "resume"), "", ""]))
    stream.flush()
    if asked.detach:
        return 0
    try:
        return _followed(client, job, stream)
    except KeyboardInterrupt:
        lines = ["", f"Job {job} goes on, and is no longer followed."]
        stream.write("\n".join([*lines, *_shown(told, "watch", "stop"), ""]))
        stream.flush()
        return _INTERRUPTED


def _submitted(client: JobSubmissionClient, asked: Submission, folder: Path) -> str:
    """The job's name. A head that has just started takes jobs some seconds later."""
    variables = {
        **cluster.OF_WORKERS,
        "RAY_JOB_STOP_WAIT_TIME_S": _STOP_S,
        SUBMITTED_TO: asked.address,
    }
    sent = {"working_dir": str(folder), "env_vars": variables}
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return str(client.submit_job(entrypoint=asked.entrypoint, runtime_env=sent))
        except Exception as error:  # Ray raises RuntimeError, and what the network raises
            if "No available agent" not in str(error):
                raise _refused(asked.address, error) from error
            if time.monotonic() > until:
                raise cluster.ClusterError(
                    f"--address {asked.address}: the head node has no agent that takes jobs; "
                    "dashboard_agent.log there says why, such as a port that is in use"
                ) from error
        time.sleep(_LOOK_S)


def _shown(told: dict[str, str], *names: str) -> list[str]:
    return [f"  to {name:<8}{told[name]}" for name in names]


def _client(address: str) -> JobSubmissionClient:
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    from ray.job_submission import JobSubmissionClient

    # Ray sets the level of its own loggers when it is imported
    for name in ("ray", "ray.dashboard.modules.dashboard_sdk"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        return JobSubmissionClient(address)
    except Exception as error:  # as in `submit`
        raise _refused(address, error) from error


def _refused(address: str, error: Exception) -> cluster.ClusterError:
    return cluster.ClusterError(f"--address {address}: {cluster.reason(error)}")


def _followed(client: JobSubmissionClient, job: str, stream: TextIO) -> int:
    """Shows the job's log as it grows; returns the exit status of its command.

    The log is asked for as a whole: what was shown before a connection broke is not shown again.

    Raises:
        ClusterError: the cluster has not answered for a minute.
    """
    shown, answered = 0, time.monotonic()
    while True:
        try:
            found = client.get_job_info(job)
            log = client.get_job_logs(job) or ""
            answered = time.monotonic()
        except Exception as error:  # as in `submit`: it may come back
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
    """The exit status of a job that has ended, and why it has none of its own."""
    if found.driver_exit_code is not None:
        return int(found.driver_exit_code)
    if found.status == "SUCCEEDED":
        return 0
    if found.status == "STOPPED":
        stream.write(f"Job {job} was stopped.\n")
        return _INTERRUPTED
    stream.write(f"Job {job} failed: {found.message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
