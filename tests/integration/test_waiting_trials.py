"""Trials that wait for others are not taken for stuck, and have little to wait for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from platform.execution.heartbeat import LOST_AFTER_S
from tests.helpers.sweeps import PAIR, ROOT, run, sweep

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]

STUDY = """
from optuna.distributions import CategoricalDistribution, FloatDistribution
from search_spaces.study import SearchConfig, Study
from trainables.config import PretrainConfig, TrialConfig

STUDY = Study(
    name="originals",
    question="How does it depend on the original?",
    cost="a minute",
    command="python -m platform.sweep originals.py",
    base=TrialConfig(pretrain=PretrainConfig(steps=10, batch_size=8, threads=1)),
    variants=({"method": "ours", "retain_source": "real"},),
    space={
        "pretrain.steps": CategoricalDistribution((20, 21)),
        "unlearn.lr": FloatDistribution(1e-4, 1e-3),
    },
    search=SearchConfig(trials=5, sobol_trials=1),
)
"""


def test_originals_of_proposed_trials_are_built_before_these_start(tmp_path: Path) -> None:
    study = tmp_path / "originals.py"
    study.write_text(STUDY)
    command = sweep(tmp_path, options=["--name", "a"])
    # the study says how long originals are trained
    place = command.index("pretrain.steps=10")
    del command[place - 1 : place + 1]
    ended = run([*command[:3], str(study), *command[3:]])
    assert ended.status == 0, ended
    # what a trial builds itself is not told of
    for steps in (20, 21):
        assert f"pretraining mae_tiny {steps}/{steps}" in ended.out
    assert " stopped: " not in ended.out


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder of a short name: Ray keeps sockets in it."""
    with tempfile.TemporaryDirectory(prefix="u", ignore_cleanup_errors=True) as made:
        yield Path(made)


def test_a_process_that_is_stopped_while_it_builds_shared_work_is_replaced(
    tmp_path: Path, temporary: Path
) -> None:
    command = sweep(tmp_path, *PAIR, "pretrain.steps=100")
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert any(line.startswith("pretraining ") for line in process.stdout)
        (sign,) = temporary.glob("*/.alive-0")
        os.kill(json.loads(sign.read_text())["pid"], signal.SIGSTOP)
        out, _ = process.communicate()
    assert process.returncode == 0, out
    assert len(list(tmp_path.glob("cache/base-*/weights.safetensors"))) == 1


def test_trials_wait_for_a_driver_that_is_stopped(tmp_path: Path) -> None:
    command = sweep(tmp_path, *PAIR, "unlearn.steps=400", "unlearn.eval_every=50")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob("*/trials/ours/snapshot.safetensors")):
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGSTOP)
        threading.Timer(LOST_AFTER_S + 15.0, os.kill, (process.pid, signal.SIGCONT)).start()
        out, _ = process.communicate()
    assert process.returncode == 0, out
    assert " stopped: " not in out
