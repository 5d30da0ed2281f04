"""What fits this machine, how many trials run at once, and what is refused with its shortfall."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from platform.plan.hardware import Machine
from platform.plan.plan import LaunchConfig, Plan
from platform.plan.resources import concurrency, cpus_per_trial, problems, uses_trainer

LAPTOP = Machine(cpus=2, gpus=0, memory=8 * 2**30)
SERVER = Machine(cpus=16, gpus=4, memory=0)


def plan_of(**launch: Any) -> Plan:
    return Plan(
        name="a",
        study="small",
        question="?",
        storage=Path("runs"),
        seed=0,
        trials=(),
        groups=(),
        launch=LaunchConfig(**launch),
    )


@pytest.mark.parametrize(
    ("launch", "trained", "cpus"),
    [
        ({}, False, 1.0),
        ({"workers": 2}, True, 1.5),
        ({"gpus_per_trial": 0.5}, True, 1.0),
        ({"launcher": "train"}, True, 1.0),
        ({"launcher": "inline", "gpus_per_trial": 1.0}, False, 1.0),
    ],
)
def test_a_trial_is_trained_by_ray_where_it_has_gpus_or_workers(
    launch: dict[str, Any], trained: bool, cpus: float
) -> None:
    config = LaunchConfig(**launch)
    assert uses_trainer(config) is trained
    assert cpus_per_trial(config) == cpus


@pytest.mark.parametrize(
    ("launch", "machine", "at_once"),
    [
        ({}, LAPTOP, 2),
        ({}, SERVER, 16),
        ({"max_concurrent": 1}, LAPTOP, 1),
        ({"max_concurrent": 64}, LAPTOP, 2),
        ({"workers": 2}, LAPTOP, 1),
        ({"workers": 2}, Machine(cpus=4, gpus=0, memory=0), 2),  # 1.5 CPUs each
        ({"workers": 3}, SERVER, 8),
        ({"gpus_per_trial": 1.0}, SERVER, 4),
        ({"gpus_per_trial": 2.0, "workers": 2}, SERVER, 2),
        ({"gpus_per_trial": 3.0, "workers": 3}, SERVER, 1),
        ({"gpus_per_trial": 0.5}, SERVER, 8),
        ({"gpus_per_trial": 0.3}, SERVER, 12),
        ({"gpus_per_trial": 0.6}, SERVER, 4),
        ({"gpus_per_trial": 0.1}, Machine(cpus=64, gpus=1, memory=0), 10),
        ({"gpus_per_trial": 0.5, "max_concurrent": 3}, SERVER, 3),
        ({"gpus_per_trial": 0.1}, Machine(cpus=4, gpus=4, memory=0), 4),
    ],
)
def test_as_many_trials_run_at_once_as_fit(
    launch: dict[str, Any], machine: Machine, at_once: int
) -> None:
    assert problems(LaunchConfig(**launch), machine) == []
    assert concurrency(plan_of(**launch), machine) == at_once


@pytest.mark.parametrize(
    ("launch", "machine", "told"),
    [
        ({"workers": 0}, LAPTOP, "--workers 0 is below 1"),
        ({"gpus_per_trial": -1.0}, LAPTOP, "--gpus-per-trial -1.0 is not a number of 0 or more"),
        ({"gpus_per_trial": float("nan")}, SERVER, "--gpus-per-trial nan is not a number of 0"),
        ({"gpus_per_trial": float("inf")}, SERVER, "--gpus-per-trial inf is not a number of 0"),
        ({"max_concurrent": 0}, LAPTOP, "--max-concurrent 0 is below 1"),
        ({"gpus_per_trial": 1.0}, LAPTOP, "1 GPU(s) and this machine has 0: 1 too few"),
        ({"gpus_per_trial": 0.5}, LAPTOP, "0.5 GPU(s) and this machine has 0: 0.5 too few"),
        ({"gpus_per_trial": 6.0, "workers": 6}, SERVER, "has 4: 2 too few (--gpus-per-trial)"),
        ({"workers": 4}, LAPTOP, "takes 2.5 CPUs and this machine has 2: at most 3 workers fit"),
        ({"workers": 2}, Machine(cpus=1, gpus=0, memory=0), "at most 1 workers fit (--workers)"),
        ({"launcher": "inline", "workers": 2}, LAPTOP, "--launcher inline runs one worker"),
        ({"launcher": "inline", "gpus_per_trial": 2.0}, SERVER, "--launcher inline drives one GPU"),
        ({"workers": 2, "gpus_per_trial": 1.0}, SERVER, "GPU of its own: --gpus-per-trial 2"),
        ({"gpus_per_trial": 1.5}, SERVER, "asks for 1.5: --workers 2 --gpus-per-trial 2"),
    ],
)
def test_what_can_never_run_is_refused_with_its_shortfall(
    launch: dict[str, Any], machine: Machine, told: str
) -> None:
    (line,) = problems(LaunchConfig(**launch), machine)
    assert told in line


def test_what_a_refusal_proposes_is_accepted() -> None:
    assert problems(LaunchConfig(workers=3), LAPTOP) == []
    assert problems(LaunchConfig(workers=2, gpus_per_trial=2.0), SERVER) == []
    assert problems(LaunchConfig(launcher="train", workers=2, gpus_per_trial=2.0), SERVER) == []


NODES = tuple(
    Machine(cpus=8, gpus=gpus, memory=2**34, name=f"node 10.0.0.{number}")
    for number, gpus in enumerate((0, 2, 4), 1)
)


@pytest.mark.parametrize(
    ("launch", "at_once"),
    [
        ({}, 24),
        ({"launcher": "inline", "gpus_per_trial": 1.0}, 6),
        ({"launcher": "inline", "gpus_per_trial": 0.25}, 16),  # by the CPUs of the nodes with GPUs
        ({"gpus_per_trial": 1.0}, 6),
        ({"gpus_per_trial": 0.5}, 12),
        ({"gpus_per_trial": 6.0, "workers": 6}, 1),  # over both
        ({"gpus_per_trial": 4.0, "workers": 4}, 1),
        ({"gpus_per_trial": 2.0, "workers": 2}, 3),
        ({"workers": 30}, 1),
        ({"workers": 3}, 12),
        ({"max_concurrent": 5}, 5),
    ],
)
def test_workers_of_a_trial_spread_over_nodes(launch: dict[str, Any], at_once: int) -> None:
    assert problems(LaunchConfig(**launch), *NODES) == []
    assert concurrency(plan_of(**launch), *NODES) == at_once


@pytest.mark.parametrize(
    ("launch", "nodes", "told"),
    [
        ({"gpus_per_trial": 8.0, "workers": 8}, NODES, "and the cluster has 6: 2 too few"),
        ({"workers": 64}, NODES, "takes 32.5 CPUs and the cluster has 24: at most 47 workers"),
        ({"launcher": "inline", "gpus_per_trial": 1.0}, NODES[:1], "node 10.0.0.1 has 0: 1 too"),
        (
            {"launcher": "inline", "gpus_per_trial": 1.0},
            (LAPTOP, Machine(cpus=0, gpus=1, memory=0)),
            "CPUs and GPUs of one node, and no node has both: 2 CPU(s), 1 GPU(s)",
        ),
    ],
)
def test_what_no_node_has_is_refused(
    launch: dict[str, Any], nodes: tuple[Machine, ...], told: str
) -> None:
    (line,) = problems(LaunchConfig(**launch), *nodes)
    assert told in line


def test_all_shortfalls_are_told_together() -> None:
    found = problems(LaunchConfig(workers=8, gpus_per_trial=8.0), LAPTOP)
    assert [("8 too few" in line, "at most 3 workers fit" in line) for line in found] == [
        (True, False),
        (False, True),
    ]
    assert len(problems(LaunchConfig(workers=0, max_concurrent=0), LAPTOP)) == 2
