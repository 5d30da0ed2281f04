"""Asks the nodes of the Ray that this process has joined: what they have, and what they reach."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platform.execution.cluster import ClusterError
from platform.plan.hardware import Machine
from trainables.utils.errors import UserError
from trainables.utils.object_store import Mirror, working_copy

_ANSWER_S = 60.0


def machines() -> tuple[Machine, ...]:
    """Returns the nodes that the cluster has now."""
    return tuple(
        Machine(
            cpus=int(node["Resources"].get("CPU", 0)),
            gpus=int(node["Resources"].get("GPU", 0)),
            memory=int(node["Resources"].get("memory", 0)),
            name=f"node {node['NodeManagerAddress']}",
        )
        for node in _alive()
    )


def check_storage(storage: Path) -> None:
    """Finds whether every node reaches the storage folder, and writes to it.

    Raises:
        ClusterError: some nodes do not; names them.
    """
    if (mirror := Mirror.of(storage)) is not None:
        for node, problem in on_every_node(_address_problem, mirror.address).items():
            if problem:
                raise ClusterError(f"node {node}: {problem}")
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


def on_every_node(function: Callable[..., Any], *values: Any) -> dict[str, Any]:
    """Calls a function on each node.

    Returns:
        What it returns, by the node's address; the exception where it raises, or does not answer
        within a minute.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote = ray.remote(num_cpus=0, max_retries=0)(function)
    answers = {}
    for number, node in enumerate(_alive(), start=1):
        strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        name = f"{node['NodeManagerAddress']} (node {number})"
        answers[name] = remote.options(scheduling_strategy=strategy).remote(*values)
    found: dict[str, Any] = {}
    for name, answer in answers.items():
        try:
            found[name] = ray.get(answer, timeout=_ANSWER_S)
        except Exception as error:  # of the function, or of a node that has just gone
            found[name] = error
    return found


def beside_driver() -> Any:
    """Returns the scheduling strategy of an actor that lasts as long as this process: its node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


def probe() -> float:
    """Returns the seconds that a task on the running Ray takes to answer.

    Raises:
        Exception: Ray's own, where it does not answer within a minute.
    """
    import ray

    began = time.monotonic()
    ray.get(ray.remote(num_cpus=0)(lambda: None).remote(), timeout=_ANSWER_S)
    return time.monotonic() - began


def _alive() -> list[dict[str, Any]]:
    import ray

    return [node for node in ray.nodes() if node["Alive"]]


def _address_problem(address: str) -> str:
    """Returns why this node cannot use a storage's address; empty where it can."""
    try:
        working_copy(address).remote.check()
    except UserError as error:
        return str(error)
    return ""


def _reaches(folder: str) -> bool:
    """Reports whether this node can write to a folder that the driver has made."""
    try:
        # not made here: a folder of this node's own would not be the driver's
        (Path(folder) / uuid.uuid4().hex).touch()
    except OSError:
        return False
    return True
