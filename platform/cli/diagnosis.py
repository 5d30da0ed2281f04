"""Finds out what this machine can run: versions, hardware, data, MLflow and Ray."""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import platform
from platform.cli.request import Request, attempt
from platform.cli.requested_plan import plan_request
from platform.plan import hardware
from platform.storage.address import open_storage
from platform.storage.environment import ROOT, environment, installed_version
from platform.tracking.client import DATABASE, count_experiments, database_uri
from trainables.utils.addresses import is_address
from trainables.utils.errors import UserError
from trainables.utils.text import one_line

_LOCK = ROOT / "requirements.lock"
_LOCKED = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)
_GIB = 2**30
_ROOM = 5 * _GIB


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: `fail` for what a sweep cannot run without, `note` for what makes it run differently.
        text: one line, with the remedy where there is one.
    """

    level: Literal["ok", "note", "fail"]
    text: str


def findings(request: Request) -> Iterator[Finding]:
    """Looks at one thing after the other, the quick ones first.

    Args:
        request: the study, its overrides, the storage and the record, as a sweep takes them.
    """
    yield from _software()
    yield from _machine()
    if is_address(request.storage):
        local, finding = _storage(request.storage)
        yield finding
        request = replace(request, storage=local)
        if finding.level == "fail":
            yield Finding("note", "the rest is looked at without it")
    yield _room(Path(request.storage))
    yield from _study(request)
    yield _answers("MLflow", "--tracking-uri is its address", lambda: _record(request))
    yield _answers("Ray", "python -m platform.sweep --debug shows its log", _ray)


def _software() -> Iterator[Finding]:
    yield Finding("ok", f"Python {platform.python_version()}")
    if not _LOCK.is_file():
        yield Finding("note", "no requirements.lock beside the package: versions are not compared")
        return
    locked: dict[str, list[str]] = {}  # one a Python version, where they differ
    for name, version in _LOCKED.findall(_LOCK.read_text("utf-8")):
        locked.setdefault(name, []).append(version)
    wrong = [
        f"{name} {there} (locked {' or '.join(versions)})"
        for name, versions in sorted(locked.items())
        if (there := installed_version(name)) is not None and there not in versions
    ]
    if wrong:
        yield Finding("note", f"not as locked, make setup mends it: {', '.join(wrong)[:300]}")
    else:
        yield Finding("ok", "every package has its locked version")
    missing = [name for name, version in environment()["packages"].items() if version is None]
    if missing:
        yield Finding("fail", f"not installed: {', '.join(missing)} (make setup)")


def _machine() -> Iterator[Finding]:
    has = hardware.this_machine()
    yield Finding("ok", hardware.describe(has))
    listed = hardware.list_gpus()
    if not has.gpus:
        hidden = f" ({len(listed)} hidden by CUDA_VISIBLE_DEVICES)" if listed else ""
        yield Finding("note", f"no GPU{hidden}: the tiny models run, the published sizes take days")
        return
    for each in listed:
        yield Finding("ok", ", ".join(each.values()))
    import torch

    if torch.cuda.device_count() < has.gpus:
        yield Finding(
            "fail",
            f"torch {torch.__version__} sees {torch.cuda.device_count()} of {has.gpus} GPUs: is "
            "its CUDA newer than the driver?",
        )


def _room(storage: Path) -> Finding:
    free = hardware.free_disk(storage)
    told = f"{free / _GIB:.1f} GiB free for --storage {storage}"
    return Finding("ok" if free > _ROOM else "note", told)


def _study(request: Request) -> Iterator[Finding]:
    """Looks for what a dry run would refuse: data, weights, resources, room, the storage."""
    faults: list[str] = []
    call = attempt(faults, lambda: plan_request(request, []))
    yield from (Finding("fail", line) for line in faults)
    if call is not None:
        told = f"{call.plan.study}: {call.plan.total} trials; data and weights are there"
        yield Finding("ok", told)


def _answers(name: str, remedy: str, ask: Callable[[], str]) -> Finding:
    began = time.monotonic()
    try:
        told = ask()
    except UserError as error:
        return Finding("fail", str(error))
    except Exception as error:  # whatever a service, its driver or the network raise
        return Finding("fail", f"{name}: {one_line(error)} ({remedy})")
    return Finding("ok", f"{name} {told} ({time.monotonic() - began:.0f} s)")


def _storage(address: str) -> tuple[str, Finding]:
    """Returns this node's folder for a storage behind an address; `runs` where none answers."""
    local = "runs"

    def ask() -> str:
        nonlocal local
        local = str(open_storage(address))
        return f"{address} answers; this node's copy is {local}"

    finding = _answers("storage", "see docs/cluster.md", ask)
    return local, finding


def _record(request: Request) -> str:
    database = Path(request.storage).resolve() / DATABASE
    if request.tracking_uri is None and not database.exists():
        if importlib.util.find_spec("mlflow") is None:
            raise UserError("it is not installed")
        return f"makes {database} at the first sweep"
    uri = request.tracking_uri or database_uri(database)
    return f"answers, with {count_experiments(uri)} experiments"


def _ray() -> str:
    from platform.execution import cluster, nodes

    with cluster.local(1, 0):
        return f"starts, and a task on it answers in {nodes.probe():.1f} s"
