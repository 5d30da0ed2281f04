"""One trial by Ray Train on two gloo workers is the trial of one process."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from platform.execution import cluster, ray_train, trial_process
from platform.execution.trial_process import TrialOrder, read_result
from tests.helpers.sweeps import descendants
from trainables.config import TrialConfig, to_dict
from trainables.config.names import SNAPSHOT
from trainables.config.overrides import apply_overrides

pytestmark = pytest.mark.timeout(600)

STEPS = 10


@pytest.fixture(scope="module")
def config() -> TrialConfig:
    return apply_overrides(
        TrialConfig(),
        {
            "method": "noisy_label",  # its targets need the mean and deviation of the whole batch
            "pretrain.steps": 20,
            "extractor.steps": 20,
            "unlearn.steps": STEPS,
            "unlearn.eval_every": 5,
            "unlearn.forget_batch": 8,
            "unlearn.retain_batch": 8,
            "data.train_per_class": 32,
            "evaluation.tsne_points": 10,
        },
    )


def order(config: TrialConfig, root: Path, name: str, workers: int) -> TrialOrder:
    return TrialOrder(
        key=config.key(),
        config=to_dict(config),
        folder=str(root / "trials" / name),
        cache=str(root / "cache"),
        trainer=workers > 1,
        workers=workers,
    )


def test_two_workers_train_what_one_process_trains(config: TrialConfig, tmp_path: Path) -> None:
    told: list[float] = []
    one = order(config, tmp_path, "one", 1)
    two = order(config, tmp_path, "two", 2)
    assert trial_process.execute(one, lambda metrics: told.append(metrics["step"])) is None
    assert told == [5, 10]
    with cluster.local(2, 0):
        assert ray_train.execute(two) is None
    single = load_file(Path(one.folder) / "weights.safetensors")
    double = load_file(Path(two.folder) / "weights.safetensors")
    base = load_file(next((tmp_path / "cache").glob("base-*/weights.safetensors")))
    moved = torch.cat([(single[n] - base[n]).flatten() for n in single]).norm()
    apart = torch.cat([(single[n] - double[n]).flatten() for n in single]).norm()
    whole = torch.cat([single[n].flatten() for n in single]).norm()
    assert moved / whole > 1e-3
    assert apart / whole < 1e-5
    first, second = (read_result(Path(each.folder)) for each in (one, two))
    assert first["metrics"].keys() == second["metrics"].keys()
    assert second["metrics"]["loss/total"] == pytest.approx(
        first["metrics"]["loss/total"], rel=1e-5
    )


@pytest.mark.slow
def test_workers_that_were_killed_end_where_unbroken_ones_do(
    config: TrialConfig, tmp_path: Path
) -> None:
    settings = {
        "method": "ours",  # a part's terms need no moments of the part, which workers cut otherwise
        "unlearn.accumulate": 2,
        "unlearn.save_every": 4,
        "unlearn.steps": 40,
    }
    longer = apply_overrides(config, settings)
    alone = order(longer, tmp_path, "alone", 1)
    whole = order(longer, tmp_path, "whole", 2)
    broken = order(longer, tmp_path, "broken", 2)
    kept = Path(broken.folder) / SNAPSHOT
    assert trial_process.execute(alone, lambda metrics: None) is None
    with cluster.local(2, 0):
        assert ray_train.execute(whole) is None
        with ThreadPoolExecutor(1) as executor:
            ending = executor.submit(ray_train.execute, broken)
            while not kept.is_file() and not ending.done():
                time.sleep(0.01)
            assert kill_workers() == 2
            failure = ending.result()
        assert failure is not None
        # one that has just lost its peer may tell of that before Ray tells of either
        assert failure.cause in ("worker lost", "crash")
        assert kept.is_file()
        assert ray_train.execute(broken) is None
    assert 0 < read_result(Path(broken.folder))["resumed_from"] < 40
    one, unbroken, resumed = (
        load_file(Path(each.folder) / "weights.safetensors") for each in (alone, whole, broken)
    )
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)
    apart = torch.cat([(one[n] - resumed[n]).flatten() for n in one]).norm()
    assert apart / torch.cat([one[n].flatten() for n in one]).norm() < 1e-5


def kill_workers() -> int:
    """Kills the processes that share this one's trial; how many they were."""
    found = 0
    for process in descendants(os.getpid()):
        with contextlib.suppress(FileNotFoundError):  # it may have ended meanwhile
            if b"RayTrainWorker" in Path(f"/proc/{process}/cmdline").read_bytes():
                os.kill(process, signal.SIGKILL)
                found += 1
    return found


def test_rows_that_workers_cannot_share_are_refused(config: TrialConfig, tmp_path: Path) -> None:
    from trainables.data import load
    from trainables.data.batches import Batches
    from trainables.training.context import TrialSetup
    from trainables.trial import training_pools
    from trainables.utils.distributed import World
    from trainables.utils.errors import ConfigError

    dataset = load(config.data, tmp_path)
    odd = dataclasses.replace(config, unlearn=dataclasses.replace(config.unlearn, forget_batch=7))
    with pytest.raises(ConfigError, match="7 forget rows"):
        Batches(dataset, training_pools(TrialSetup(odd, dataset)), 0, World(0, 2))


def test_a_failure_is_named_and_its_trace_kept(config: TrialConfig, tmp_path: Path) -> None:
    wild = apply_overrides(config, {"method": "max_loss", "unlearn.lr": 9.0, "unlearn.clip": 1e30})
    given = order(wild, tmp_path, "wild", 1)
    failure = trial_process.execute(given, lambda metrics: None)
    assert failure is not None
    assert failure.cause == "non-finite"
    assert "\n" not in failure.message
    assert not (Path(given.folder) / "result.json").exists()
    assert "Traceback" in (Path(given.folder) / "error.txt").read_text()
