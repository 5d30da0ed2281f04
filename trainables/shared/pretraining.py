"""Trains a fresh model into an original, with the images of the forget classes or without."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch

from trainables.config import TrialConfig
from trainables.data.augmentation import TurnedViews
from trainables.data.batches import Batches, Pool
from trainables.methods import Terms
from trainables.methods.original import pretraining
from trainables.models import CompletionModel, build_model
from trainables.training.context import TrialSetup
from trainables.training.loop import Recipe, Running, train
from trainables.utils.rng import mix_seed
from trainables.utils.threads import torch_threads


def new_model(config: TrialConfig, grey: float | None = None) -> CompletionModel:
    """Builds the trial's model with its seeded initial weights.

    Args:
        config: the trial.
        grey: mean of the images if they are grey.
    """
    torch.manual_seed(mix_seed(config.pretrain.seed, "weights"))
    model = build_model(config.model, image_size=config.data.image_size)
    model.sampling = config.sampling
    model.grey = grey
    return model


def pretrain(
    model: CompletionModel,
    setup: TrialSetup,
    on_step: Callable[[int, Terms], None],
    *,
    without_forget: bool = False,
) -> None:
    """Trains a fresh model in place, stage by stage.

    Args:
        model: with its initial weights.
        setup: gives the options, what is learnt and the training images of all roles.
        on_step: called after every step with (steps done of its stage, terms).
        without_forget: leave out the training images of the forget classes.

    Raises:
        NonFiniteError: a loss or gradient is NaN or infinite.
    """
    config, dataset, options = setup.config, setup.dataset, setup.config.pretrain
    rows = dataset.rows("all", "train")
    if without_forget:
        rows = np.setdiff1d(rows, dataset.rows("forget", "train"))
    pool = Pool(rows, options.batch_size, False, "all")
    grey = setup.grey is not None
    source = TurnedViews(dataset, options.seed, grey=grey) if options.augment else dataset
    batches = Batches(source, (pool,), options.seed, loader=config.loader)
    running = Running(device=next(model.parameters()).device, on_step=on_step)
    stages = model.pretraining_stages()
    # by shares of the steps, the first ones longer where they do not come out even
    shares = np.cumsum([0, *(stage.share for stage in stages)])
    ends = -(-options.steps * shares // shares[-1])
    with torch_threads(options.threads):
        for stage, steps in zip(stages, np.diff(ends).tolist(), strict=True):
            if steps:
                draws = mix_seed(options.seed, "begin", stage.name)
                stage.begin(torch.Generator().manual_seed(draws))
                recipe = Recipe(
                    method=pretraining(stage),
                    optimiser=dataclasses.replace(options, steps=steps),
                    tasks=config.pretraining_tasks(),
                    seed=options.seed,
                    prepare=stage.prepare,
                )
                train(model, model, batches, recipe, running)
