"""Completions at once against one by one, DDIM against every step, a cached evaluation.

    python -m benchmarks.completion
    python -m benchmarks.completion --quick    # does it run? Its figures mean nothing

With the models that come with the product, on the embedded photographs, on one thread, as a trial
has by default. The ratios are within one run: the two sides take turns, and medians are told.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks._measuring import interleaved, tell
from trainables.config import (
    DataConfig,
    EvaluationConfig,
    ExtractorConfig,
    ModelName,
    SamplingConfig,
    TrialConfig,
)
from trainables.evaluation.evaluate import Evaluator, complete_rows, evaluate
from trainables.models import build_model
from trainables.models.checkpoints import load_weights
from trainables.models.diffusion import Schedule
from trainables.shared.base_models import base_model, load_base
from trainables.shared.prepare import load_extractor
from trainables.shared.references import reference
from trainables.training.context import Context, load_setup

MODELS: tuple[ModelName, ...] = ("mae_tiny", "mage_tiny", "palette_tiny")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is done.

    Attributes:
        images: completed at once and one by one.
        sampled: images that DDIM and the ancestral sampler complete.
        ancestral, ddim: steps of the two.
        per_class: test and validation images of a class in an evaluation.
        is_splits: of its Inception Score.
        sampling_steps: of completions but those of the samplers; 0 leaves them to the models.
        extractor_steps: of the network that measures, whose training is not timed.
        repeats: rounds, of which the median is told.
    """

    images: int = 64
    sampled: int = 2
    ancestral: int = 2000
    ddim: int = 50
    per_class: int = 8
    is_splits: int = 4
    sampling_steps: int = 0
    extractor_steps: int = 300
    repeats: int = 3


QUICK = Sizes(
    images=4,
    sampled=1,
    ancestral=20,
    ddim=2,
    per_class=2,
    is_splits=2,
    sampling_steps=2,
    extractor_steps=1,
    repeats=1,
)


def trial(model: ModelName, sizes: Sizes) -> TrialConfig:
    """A trial that starts from the shipped weights."""
    return TrialConfig(
        model=model,
        data=DataConfig(val_per_class=sizes.per_class, test_per_class=sizes.per_class),
        sampling=SamplingConfig(steps=sizes.sampling_steps),
        extractor=ExtractorConfig(steps=sizes.extractor_steps),
        evaluation=EvaluationConfig(is_splits=sizes.is_splits),
    )


def compare_batching(model: ModelName, sizes: Sizes, context: Context) -> None:
    """The same images, with the same draws, in one batch and in batches of one."""
    config = trial(model, sizes)
    setup = load_setup(config, context)
    network = load_base(setup, base_model(setup))
    rows = setup.dataset.rows("all", "test")[: sizes.images]

    def completed(batch: int) -> Callable[[], Tensor]:
        evaluation = dataclasses.replace(config.evaluation, batch_size=batch)
        batched = dataclasses.replace(
            setup, config=dataclasses.replace(config, evaluation=evaluation)
        )
        return lambda: complete_rows(network, batched, rows)

    works = {"one by one": completed(1), "at once": completed(len(rows))}
    tell(f"{model}: {len(rows)} completions", interleaved(works, sizes.repeats))


def compare_samplers(sizes: Sizes, context: Context) -> None:
    """One Palette by some steps of a schedule, without noise, and by all of them."""
    setup = load_setup(trial("palette_tiny", sizes), context)
    # the published schedule of sampling, in place of the tiny model's 100 steps
    schedule = Schedule(steps=sizes.ancestral, start=1e-4, end=0.09)
    network = build_model("palette_tiny", test_schedule=schedule)
    weights = base_model(setup) / "weights.safetensors"
    load_weights(network.eval(), weights)
    rows = setup.dataset.rows("all", "test")[: sizes.sampled]

    def completed(sampling: SamplingConfig) -> Callable[[], Tensor]:
        def work() -> Tensor:
            network.sampling = sampling
            return complete_rows(network, setup, rows)

        return work

    works = {
        f"ancestral {sizes.ancestral}": completed(SamplingConfig(sampler="ancestral")),
        f"DDIM {sizes.ddim}": completed(SamplingConfig(sampler="ddim", steps=sizes.ddim)),
    }
    tell(f"palette_tiny: {len(rows)} completions", interleaved(works, sizes.repeats))


def compare_evaluations(model: ModelName, sizes: Sizes, prepared: Context, folder: Path) -> None:
    """What a sweep's first trial measures against what its second does.

    The first finds nothing of the real images, of the original's completions and of grey ones in
    the cache, the second all of it; each then completes and measures its own. The original and the
    network that measures, which also are made once a sweep, are there for both.
    """
    made = load_setup(trial(model, sizes), prepared)
    setup = dataclasses.replace(made, context=Context(cache=folder))
    extractor = load_extractor(made)
    base = base_model(made)
    network = load_base(made, base)

    def forget_all() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(prepared.cache, folder)

    def compare() -> None:
        reference(setup, base, extractor, {})

    def measure() -> None:
        known = reference(setup, base, extractor, {})
        evaluate(network, Evaluator(setup, extractor, known.real))

    for what, work in (("what trials share", compare), ("evaluation", measure)):
        works = {"first": work, "second": work}
        tell(f"{model}: {what}", interleaved(works, sizes.repeats, before=forget_all))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line a comparison."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few images and steps")
    sizes = QUICK if parser.parse_args(arguments).quick else Sizes()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        prepared = Context(cache=Path(made) / "prepared")
        for model in MODELS:
            compare_batching(model, sizes, prepared)
        compare_samplers(sizes, prepared)
        for model in MODELS:
            compare_evaluations(model, sizes, prepared, Path(made) / "evaluated")


if __name__ == "__main__":
    main()
