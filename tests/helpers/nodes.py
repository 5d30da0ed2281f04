"""A Ray cluster of several nodes on loopback: processes with addresses and a token of their own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.helpers.sweeps import ROOT, Ended, descendants

# prints the node of each worker
_TWO_WORKERS = """
import sys
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from ray.util.state import list_actors
from platform.execution import cluster, ray_train
from platform.execution.trial_process import TrialOrder
from trainables.config import TrialConfig, to_dict
from trainables.config.overrides import apply_overrides

class Holder:
    def holds(self):
        return True

address, dashboard, folder, cache, name, storage = sys.argv[1:]
settings = {"method": "noisy_label", "unlearn.steps": 10, "unlearn.eval_every": 5}
settings |= {"unlearn.forget_batch": 8, "unlearn.retain_batch": 8, "data.train_per_class": 32}
settings |= {"pretrain.steps": 20, "pretrain.shipped": False, "extractor.steps": 20}
config = apply_overrides(TrialConfig(), settings | {"evaluation.tsne_points": 10})
cluster.join(address)
holders = []
if name == "apart":
    for node in [each for each in ray.nodes() if each["Alive"]]:
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        holder = ray.remote(num_cpus=0.5)(Holder).options(scheduling_strategy=there).remote()
        ray.get(holder.holds.remote())
        holders.append(holder)
order = TrialOrder(
    key=config.key(), config=to_dict(config), folder=folder, cache=cache, address=storage,
    trainer=True, workers=2,
)
failure = ray_train.execute(order)
assert failure is None, failure
job = ray.get_runtime_context().get_job_id()
for actor in list_actors(address=dashboard, limit=1000):
    if actor.class_name == "RayTrainWorker" and actor.job_id == job:
        print(actor.node_id)
"""
RAY = [sys.executable, "-m", "ray.scripts.scripts"]
STARTING_S = 400

_PORTS = ("dashboard-agent-listen", "dashboard-agent-grpc", "metrics-export", "runtime-env-agent")
_MOST = 8  # nodes of a cluster


class Nodes:
    """A head and what joins it; each has a folder of its own for temporary files.

    Args:
        cpus: of the head.
        variables: of every node's environment, and of those who use the cluster.

    Attributes:
        address: of the head, as a node of the cluster names it.
        dashboard: its address, where jobs are submitted.
        environment: of those who may use the cluster.
    """

    def __init__(self, cpus: int = 1, variables: Mapping[str, str] | None = None) -> None:
        # Ray's sockets lie below it, and their paths must be short
        self.folder = Path(tempfile.mkdtemp(prefix="nodes-", dir="/tmp"))
        # all of 127.0.0.0/8 is loopback: no two clusters of this machine share an address
        self._network = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250) + 1}"
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._count = 0
        self.token = secrets.token_hex(32)
        self.environment = {
            **{n: v for n, v in os.environ.items() if not n.startswith("RAY_")},
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            "RAY_USAGE_STATS_ENABLED": "0",
            # of a loaded machine: Ray gives up after 30 and 60 s
            "RAY_raylet_start_wait_time_s": str(STARTING_S),
            "RAY_DASHBOARD_STARTUP_TIMEOUT_S": str(STARTING_S),
            **(variables or {}),
        }
        self._ports = _free_ports(2 + _MOST * len(_PORTS))
        port = self._ports.pop()
        self.dashboard = f"http://127.0.0.1:{port}"
        # a Ray of another test takes 6379 at all addresses
        head_port = self._ports.pop()
        self.address = f"{self._network}.1:{head_port}"
        head = ["--head", "--port", str(head_port), "--temp-dir", str(self.folder)]
        head += ["--dashboard-host", "127.0.0.1", "--dashboard-port", str(port)]
        try:
            self._start(*head, cpus=cpus)
        except BaseException:
            self.stop()
            raise

    def add(self, cpus: int = 1) -> str:
        """Starts a node; returns its address."""
        return self._start("--address", self.address, cpus=cpus)

    def _start(self, *options: str, cpus: int) -> str:
        self._count += 1
        address = f"{self._network}.{self._count}"
        log = self.folder / f"{address}.log"
        command = [*RAY, "start", *options, "--node-ip-address", address, "--block"]
        # chosen here: Ray takes 52365 for the first, at 127.0.0.1 as well, where it may be in use,
        # and waits for others to be chosen no longer than an unloaded machine needs
        for name in _PORTS:
            command += [f"--{name}-port", str(self._ports.pop())]
        with log.open("wb") as file:
            self._nodes[address] = subprocess.Popen(
                [*command, "--num-cpus", str(cpus), "--num-gpus", "0"],
                env={**self.environment, "TMPDIR": str(self.temporary(address))},
                cwd=self.folder,
                stdout=file,
                stderr=file,
            )
        until = time.monotonic() + STARTING_S
        while "Ray runtime started" not in log.read_text():
            assert self._nodes[address].poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.5)
        return address

    def temporary(self, name: str) -> Path:
        """The folder for temporary files of a node, or of a machine that has none."""
        made = self.folder / f"tmp-{name}"
        made.mkdir(exist_ok=True)
        return made

    def call(
        self,
        command: Sequence[str],
        seen: Callable[[str], None] | None = None,
        machine: str = "laptop",
    ) -> Ended:
        """A call by one who may use the cluster, from a folder that has nothing to do with it.

        Args:
            command: what is called.
            seen: shown each line that it prints, as it comes.
            machine: where it is called; each has a folder of its own for temporary files.
        """
        lines: list[str] = []
        environment = {
            **self.environment,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.temporary(machine)),
        }
        errors = self.folder / f"errors-{secrets.token_hex(4)}"
        with (
            errors.open("w") as file,
            subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            ) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if seen is not None:
                    seen(line)
        return Ended(process.returncode, "".join(lines), errors.read_text(), frozenset())

    def kill(self, address: str) -> None:
        """A node is gone at once, with all that runs on it."""
        node = self._nodes.pop(address)
        for process in [*descendants(node.pid), node.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        node.wait(30)

    def pids(self, address: str) -> set[int]:
        """The processes of a node."""
        return set(descendants(self._nodes[address].pid))

    def stop(self) -> None:
        """Ends every node."""
        for address in reversed(list(self._nodes)):
            self.kill(address)
        shutil.rmtree(self.folder, ignore_errors=True)


def two_workers(nodes: Nodes, folder: str, cache: str, name: str, storage: str = "") -> list[str]:
    """The command of a trial of two workers, which prints the node of each.

    Args:
        nodes: of the cluster.
        folder, cache, storage: of its `Order`.
        name: `apart` holds half of each node's CPU, so that no node has room for both.
    """
    arguments = [nodes.address, nodes.dashboard, folder, cache, name, storage]
    return [sys.executable, "-c", _TWO_WORKERS, *arguments]


def _free_ports(count: int) -> list[int]:
    """Held at once while they are chosen: no two are the same."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in held]
