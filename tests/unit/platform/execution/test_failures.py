"""The cause of a failure is found in what libraries raise, and the documents list every cause."""

from __future__ import annotations

import re

import pytest
import ray.exceptions
import torch
from ray.train import WorkerGroupError

from platform.execution.failures import CAUSES, Cause, diagnose
from tests.helpers.sweeps import ROOT
from trainables.utils.addresses import StorageError
from trainables.utils.errors import ConfigError, NonFiniteError, is_disk_full

FULL = OSError(28, "No space left on device")
LOST = ray.exceptions.ActorDiedError()


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (ConfigError(["search.trials: must be 0 or more"]), Cause.USER),
        (NonFiniteError("the loss became NaN at step 17"), Cause.NON_FINITE),
        (MemoryError(), Cause.OUT_OF_MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory"), Cause.OUT_OF_MEMORY),
        (ray.exceptions.OutOfMemoryError("the node is low on memory"), Cause.OUT_OF_MEMORY),
        (LOST, Cause.WORKER_LOST),
        (ray.exceptions.ActorUnavailableError("gone", b"0" * 16), Cause.WORKER_LOST),
        (ray.exceptions.WorkerCrashedError(), Cause.WORKER_LOST),
        (FULL, Cause.DISK),
        (RuntimeError("Error while serializing: No space (os error 28)"), Cause.DISK),
        (RuntimeError("(sqlite3) database or disk is full"), Cause.DISK),
        (StorageError("--storage s3://b cannot be used"), Cause.STORAGE),
        (ZeroDivisionError("x"), Cause.CRASH),
    ],
)
def test_each_error_has_its_cause(error: Exception, cause: Cause) -> None:
    assert diagnose(error).cause is cause


def test_the_message_is_one_line_that_says_what_a_crash_was() -> None:
    assert diagnose(ZeroDivisionError("x\ny")).message == "ZeroDivisionError: x"
    assert diagnose(MemoryError()).message == "MemoryError"
    assert diagnose(LOST).message == "a process of the trial died"


def test_the_cause_is_found_inside_what_ray_wraps() -> None:
    wrapped = ray.exceptions.RayTaskError("trial", "Traceback", FULL)
    assert diagnose(wrapped).cause is Cause.DISK
    group = WorkerGroupError("two failed", {0: RuntimeError("peer closed"), 1: LOST})
    assert diagnose(group).cause is Cause.WORKER_LOST
    alone = WorkerGroupError("one failed", {0: RuntimeError("peer closed")})
    assert diagnose(alone).message == "RuntimeError: peer closed"


def test_a_full_disk_is_found_in_what_an_error_came_from() -> None:
    error = RuntimeError("the snapshot could not be written")
    error.__cause__ = FULL
    assert is_disk_full(error)
    assert not is_disk_full(OSError(13, "Permission denied"))


def test_the_documents_list_every_cause_with_what_follows() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    listed = re.findall(r"^\| `([a-z -]+)` \| (.+?) \| (fail|retry|stop) \|$", text, re.MULTILINE)
    assert listed == [(cause, each.meaning, each.then) for cause, each in CAUSES.items()]
    assert list(CAUSES) == list(Cause)
