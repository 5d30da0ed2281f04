"""What this machine has, in numbers and in words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from platform.plan.hardware import Machine, describe, free_disk, inventory, this_machine

LAPTOP = Machine(cpus=2, gpus=0, memory=8 * 2**30)
SERVER = Machine(cpus=16, gpus=4, memory=0)
NODES = (
    Machine(cpus=8, gpus=2, memory=2**34, name="node 10.0.0.1"),
    Machine(cpus=16, gpus=4, memory=2**35, name="node 10.0.0.2"),
)


def test_a_machine_is_described_in_words() -> None:
    assert describe(LAPTOP) == "2 CPU(s), 0 GPU(s), 8.0 GiB memory"
    assert describe(SERVER) == "16 CPU(s), 4 GPU(s)"


def test_a_cluster_is_described_as_one() -> None:
    assert describe(*NODES) == "24 CPU(s), 6 GPU(s), 48.0 GiB memory on 2 nodes"


# --- This machine ----------------------------------------------------------------------------


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver's tool that lists two GPUs by the fields it is asked for, found before any other."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\n"
        'test "$1" = --query-gpu=name,memory.total,driver_version || exit 2\n'
        "echo 'NVIDIA X, 81920 MiB, 550.1'\n"
        "echo 'NVIDIA Y, 40960 MiB, 550.1'\n"
        "echo 'a warning'\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tool


def test_this_machine_has_what_this_process_may_use() -> None:
    here = this_machine()
    assert 1 <= here.cpus <= (os.cpu_count() or 1)
    assert here.memory > 2**28


@pytest.mark.parametrize(
    ("visible", "count"),
    [(None, 2), ("", 0), ("0", 1), ("1,0", 2), ("-1", 0), ("0,-1,1", 1), ("0,1,2,3", 2)],
)
def test_gpus_are_those_that_the_driver_lists_and_cuda_lets_through(
    driver: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, count: int
) -> None:
    assert driver.is_file()
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert this_machine().gpus == count


@pytest.mark.parametrize("program", ["#!/bin/sh\necho 'X, 1 MiB, 2'\nexit 9\n", "no program"])
def test_a_driver_that_fails_has_no_gpus(driver: Path, program: str) -> None:
    driver.write_text(program)
    assert this_machine().gpus == 0


def test_the_inventory_names_all_gpus_whatever_is_visible(
    driver: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert driver.is_file()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = inventory()
    assert found["gpus"] == [
        {"name": "NVIDIA X", "memory.total": "81920 MiB", "driver_version": "550.1"},
        {"name": "NVIDIA Y", "memory.total": "40960 MiB", "driver_version": "550.1"},
    ]
    assert found["cpu"]
    assert found["cpu_count"] == os.cpu_count()
    assert found["memory_gib"] >= round(this_machine().memory / 2**30, 1)


def test_free_disk_is_that_of_the_folder_that_will_be_made(tmp_path: Path) -> None:
    assert free_disk(tmp_path / "not" / "yet") > 0
