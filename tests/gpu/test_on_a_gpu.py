"""What only a GPU can show: whole trials on it, its precision, its memory."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch

from benchmarks import published_sizes, unlearning
from tests.helpers.tiny import tiny
from trainables.config import ModelName, TrialConfig, UnlearnConfig
from trainables.models import build_model
from trainables.models.base import Masking
from trainables.training.context import Context
from trainables.training.loop import ease_blocks
from trainables.trial import run_trial

pytestmark = pytest.mark.gpu
TINY: tuple[ModelName, ...] = ("mae_tiny", "mage_tiny", "palette_tiny")


@pytest.mark.parametrize("model", TINY)
def test_a_trial_runs_on_the_gpu_and_measures_as_on_the_cpu(
    model: ModelName, tmp_path: Path
) -> None:
    config = tiny(model=model, sampling__steps=0 if model == "mae_tiny" else 2)
    results = {
        device: run_trial(
            config,
            Context(
                folder=tmp_path / device,
                cache=tmp_path / f"{device}-cache",
                device=torch.device(device),
            ),
        )["metrics"]
        for device in ("cuda", "cpu")
    }
    assert results["cuda"].keys() == results["cpu"].keys()
    assert all(math.isfinite(value) for value in results["cuda"].values())
    # other kernels, and bf16: near, not equal
    wanted = results["cpu"]["loss/retain"]
    assert results["cuda"]["loss/retain"] == pytest.approx(wanted, rel=0.2)


def test_recomputing_takes_less_memory() -> None:
    peaks: list[int] = []
    for recompute in (False, True):
        model = build_model("mae_vit_base_patch16").cuda().train()
        ease_blocks(model, UnlearnConfig(recompute=recompute))
        images = torch.rand(16, 3, 224, 224, device="cuda")
        inputs = model.prepare(images, Masking(TrialConfig().train_task, None, noise=False))
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        model.task_loss(inputs).total.sum().backward()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[1] < 0.7 * peaks[0]


def test_completions_on_the_gpu_are_those_of_the_cpu() -> None:
    torch.manual_seed(0)
    model = build_model("mae_tiny").eval()
    images = torch.rand(4, 3, 32, 32)
    task = TrialConfig().test_task
    with torch.inference_mode():
        here = model.complete(images, task, None)
        there = copy.deepcopy(model).cuda().complete(images.cuda(), task, None).cpu()
    torch.testing.assert_close(there, here, rtol=1e-2, atol=1e-2)


def test_the_benchmarks_tell_of_the_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    unlearning.main(["--quick", "--device", "cuda"])
    assert published_sizes.main(["mae_tiny", "--device", "cuda", "--batch", "4"]) == 0
    assert "images/s" in capsys.readouterr().out
