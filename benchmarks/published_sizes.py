"""What each published size takes: seconds and memory to load, complete and unlearn.

    python -m benchmarks.published_sizes                        # all of them, one after the other
    python -m benchmarks.published_sizes palette_places2 --batch 4

The weights are fresh ones in a file of the published form, which is removed afterwards: no figure
here depends on their values. The file was just written, so it is read from the system's memory.
Every size is measured by a process of its own, so that the peak is its own.

Operations are those of matrix products, convolutions and attention, as torch counts them; their
share is of what a large matrix product reaches on the device, in bfloat16 on a GPU and in float32
on a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import itertools
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._measuring import free_memory, matmul_rate, peak_memory, synchronise
from trainables.config import (
    DataConfig,
    EvaluationConfig,
    ModelName,
    OptimiserConfig,
    SamplingConfig,
    TaskConfig,
    TrialConfig,
)
from trainables.data import Dataset
from trainables.data.batches import Batches, Pool
from trainables.evaluation.evaluate import complete_rows
from trainables.methods import METHODS, Terms
from trainables.models import MODELS, CompletionModel, build_model
from trainables.models.checkpoints import load_published
from trainables.models.palette import Palette
from trainables.training.context import Context, TrialSetup, load_setup
from trainables.training.loop import Recipe, Running, train

PUBLISHED = tuple(name for name in MODELS if not name.endswith("_tiny"))
_DDIM = 50  # steps of Palette's other sampler, for the computed time


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a size is measured.

    Attributes:
        device: of the models.
        batch: images of a completion and of a step.
        repeats: timed calls, after one that is counted; the median is told.
    """

    device: str
    batch: int
    repeats: int


@dataclass(frozen=True)
class Cost:
    """Seconds of a call, the median, and floating-point operations of one."""

    seconds: float
    operations: int


def write_published(name: str, path: Path) -> None:
    """A file with the names and shapes of the published one, as it is downloaded."""
    torch.manual_seed(0)
    state = build_model(name).state_dict()
    # Palette's file is the state-dict itself
    torch.save(state if name.startswith("palette") else {"model": state}, path)


def measure_size(name: ModelName, path: Path, asked: Asked) -> None:
    """Prints what a size takes; the process should have done nothing else."""
    device = torch.device(asked.device)
    before = peak_memory()
    model, built = _timed(lambda: build_model(name))
    _, loaded = _timed(lambda: load_published(model, path))
    _say("file", f"{_gb(path.stat().st_size)}")
    _say("load", f"{loaded:.1f} s, after {built:.1f} s for the fresh model")
    _say("memory", f"{_gb(before)} before, at most {_gb(peak_memory())} until loaded")
    # the training loop says itself what moves
    model.eval().requires_grad_(False).to(device)
    with tempfile.TemporaryDirectory() as cache:
        config = _trial(name, model, asked)
        setup = load_setup(config, Context(cache=Path(cache)))
        _tell_completion(model, setup, asked)
        _tell_step(model, setup.dataset, config, asked)
    _say("memory", f"at most {_gb(peak_memory())} in all")


def _trial(name: ModelName, model: CompletionModel, asked: Asked) -> TrialConfig:
    """Two photographs as the forget and the retain class, in the model's own image size."""
    data = DataConfig(
        forget=("flower",),
        retain=("china",),
        image_size=model.hole(1, TaskConfig(), None).shape[-1],
        train_per_class=asked.batch,
        val_per_class=1,
        test_per_class=asked.batch,
    )
    # a completion by all steps takes hours on a CPU
    single = SamplingConfig(sampler="ddim", steps=1)
    return TrialConfig(
        model=name,
        data=data,
        sampling=single if isinstance(model, Palette) else SamplingConfig(),
        evaluation=EvaluationConfig(batch_size=asked.batch),
    )


def _tell_completion(model: CompletionModel, setup: TrialSetup, asked: Asked) -> None:
    rows = setup.dataset.rows("retain", "test")
    palette = isinstance(model, Palette)
    what = f"{'one denoising' if palette else 'completion'} of {len(rows)}"
    model.sampling = setup.config.sampling

    def work() -> Cost:
        with FlopCounterMode(display=False) as counter:
            complete_rows(model, setup, rows)
        spent = [_timed(lambda: complete_rows(model, setup, rows))[1] for _ in range(asked.repeats)]
        return Cost(statistics.median(spent), counter.get_total_flops())

    found = _tell(what, work, len(rows), asked)
    if found and palette:
        steps = len(model.get_buffer("test_gammas"))
        hours, minutes = steps * found.seconds / 3600, _DDIM * found.seconds / 60
        _say("computed", f"{steps} ancestral steps {hours:.2f} h, {_DDIM} DDIM {minutes:.1f} min")


def _tell_step(model: CompletionModel, dataset: Dataset, config: TrialConfig, asked: Asked) -> None:
    what = f"step of {asked.batch}"
    device = torch.device(asked.device)
    moved = sum(each.nbytes for _, each in model.encoder_parameters())
    # a teacher; of what moves the gradient and AdamW's two moments
    needed = sum(each.nbytes for each in model.state_dict().values()) + 3 * moved
    if needed > free_memory(device):
        free = _gb(free_memory(device))
        _say(what, f"left out: takes {_gb(needed)} beside activations, {free} are free")
        return
    _tell(what, lambda: _steps(model, dataset, config, asked), asked.batch, asked)


def _steps(model: CompletionModel, dataset: Dataset, config: TrialConfig, asked: Asked) -> Cost:
    """Steps of `ours` by the training loop; the first is counted, and not timed."""
    device = torch.device(asked.device)
    teacher = copy.deepcopy(model).requires_grad_(False)
    forget = asked.batch // 2
    pools = (
        Pool(dataset.rows("retain", "train"), asked.batch - forget, False, "retain"),
        Pool(dataset.rows("forget", "train"), forget, True, "forget"),
    )
    recipe = Recipe(
        method=METHODS["ours"],
        optimiser=OptimiserConfig(steps=1 + asked.repeats, lr=1e-5),
        tasks=(config.train_task,),
        seed=config.seed,
    )
    counter = FlopCounterMode(display=False)
    ends: list[float] = []
    with contextlib.ExitStack() as counted:

        def on_step(step: int, terms: Terms) -> None:
            counted.close()
            synchronise(device)
            ends.append(time.perf_counter())

        counted.enter_context(counter)
        batches = Batches(dataset, pools, config.seed)
        running = Running(device=device, bf16=device.type == "cuda", on_step=on_step)
        train(model, teacher, batches, recipe, running)
    spent = [end - start for start, end in itertools.pairwise(ends)]
    return Cost(statistics.median(spent), counter.get_total_flops())


def _tell(what: str, work: Callable[[], Cost], images: int, asked: Asked) -> Cost | None:
    """Prints a line; None where the GPU's memory does not suffice, which is told."""
    device = torch.device(asked.device)
    gpu = device.type == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats(device)
    try:
        found = work()
    except torch.OutOfMemoryError as error:
        _say(what, f"left out: {str(error).partition('. ')[0]}")
        return None
    most = torch.cuda.max_memory_allocated(device) if gpu else 0
    # beside the work, since a shared machine or a hot card is not as fast at all times
    rate = matmul_rate(device)
    share = found.operations / found.seconds / rate
    dtype = "bfloat16" if gpu else "float32"
    line = (
        f"{found.seconds:.3f} s, {images / found.seconds:.3g} images/s, "
        f"{found.operations / images / 1e9:.4g} GFLOP an image, "
        f"{share:.0%} of {rate / 1e9:.4g} GFLOP/s ({dtype} matmul)"
    )
    if gpu:
        line += f", GPU memory at most {_gb(most)}"
    _say(what, line)
    return found


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def _gb(count: int) -> str:
    return f"{count / 1e9:.3g} GB"


def _say(label: str, text: str) -> None:
    print(f"  {label:<20}{text}", flush=True)


def _alone(work: Callable[..., None], *arguments: object) -> int:
    """Calls a function of this module in a fresh process; its exit status, negative if killed."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    return process.exitcode or 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints some lines a size; exit status 1 where one could not be measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}")
    cuda = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if cuda else "cpu")
    parser.add_argument("--batch", type=int, help="images at once; 2, on a GPU 16")
    parser.add_argument("--repeats", type=int, help="timed calls; 1, on a GPU 5")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.models if name not in MODELS]
    if unknown:
        parser.error(f"no such model: {', '.join(unknown)}")
    gpu = options.device.startswith("cuda")
    asked = Asked(
        device=options.device,
        batch=options.batch or (16 if gpu else 2),
        repeats=options.repeats or (5 if gpu else 1),
    )
    failed = 0
    for name in options.models or PUBLISHED:
        print(name, flush=True)
        with tempfile.TemporaryDirectory() as made:
            path = Path(made) / "published.pth"
            status = _alone(write_published, name, path) or _alone(measure_size, name, path, asked)
        if status:
            # what was printed until then stands
            _say("failed", "killed, for its memory?" if status < 0 else f"exit status {status}")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
