"""The original model of a trial: published or shipped weights, or pretrained here; made once.

So is the model that never met the forget classes, of the method `retrained`.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.config import TrialConfig
from trainables.data import Dataset
from trainables.data.augmentation import TurnedViews
from trainables.data.batches import Batches, Pool
from trainables.methods import Terms
from trainables.methods.original import pretraining
from trainables.models import CompletionModel, build_model
from trainables.models.checkpoints import load_original, load_weights, save_weights
from trainables.shared.keys import original_values, retrained_values
from trainables.shipped import retraining, shipped_retrained, shipped_weights
from trainables.training.context import Context
from trainables.training.loop import Recipe, Running, train
from trainables.utils.cache import build_once, file_hash
from trainables.utils.errors import CheckpointError
from trainables.utils.files import write_json
from trainables.utils.hashing import code_version
from trainables.utils.rng import mix_seed
from trainables.utils.threads import torch_threads

_SCIENCE = (
    "trainables.models",
    "trainables.methods",
    "trainables.data",
    "trainables.training.loop",
    "trainables.training.optimizer",
    "trainables.shared.base_models",
    "trainables.utils.distributed",
    "trainables.utils.rng",
)


def new_model(config: TrialConfig) -> CompletionModel:
    """The trial's model with its seeded initial weights."""
    torch.manual_seed(mix_seed(config.pretrain.seed, "weights"))
    options: dict[str, Any] = {"image_size": config.data.image_size}
    model = build_model(config.model, **options)
    model.sampling = config.sampling
    return model


def check_checkpoint(config: TrialConfig) -> None:
    """Refuses published files that do not hold the trial's original, without building it.

    Raises:
        CheckpointError: as `load_original`.
    """
    with torch.device("meta"):
        model = build_model(config.model, image_size=config.data.image_size)
    load_original(model, config.checkpoint)


def base_material(config: TrialConfig, dataset: Dataset, context: Context) -> dict[str, Any]:
    """Returns what names an original model in the cache."""
    return _with_content(original_values(config), dataset, context)


def retrained_material(config: TrialConfig, dataset: Dataset, context: Context) -> dict[str, Any]:
    """Returns what names a model trained without the forget classes in the cache."""
    return _with_content(retrained_values(config), dataset, context)


def _with_content(values: Mapping[str, Any], dataset: Dataset, context: Context) -> dict[str, Any]:
    """Puts content in place of names: the hashes of files, or of the images and the code."""
    if "files" in values:
        return {**values, "files": [file_hash(Path(p), context.cache) for p in values["files"]]}
    return {
        **values,
        "data": dataset.fingerprint,
        "code": code_version(*_SCIENCE),
        "device": context.device.type,
        "torch": str(torch.__version__),
    }


def base_model(config: TrialConfig, dataset: Dataset, context: Context) -> Path:
    """The folder of the original: published or shipped weights, or pretrained here; made once."""
    shipped = shipped_weights(config)

    def build(folder: Path) -> None:
        weights = folder / "weights.safetensors"
        if config.checkpoint:
            model = new_model(config)
            load_original(model, config.checkpoint)
            save_weights(model, weights)
        elif shipped:
            load_weights(new_model(config), shipped)
            shutil.copyfile(shipped, weights)
        else:
            _build_pretrained(config, dataset, context, folder)

    return build_once(context.cache, "base", base_material(config, dataset, context), build)


def retrained_model(config: TrialConfig, dataset: Dataset, context: Context) -> Path:
    """The folder of a model like the original that never met the forget classes; made once.

    It is shipped, or pretrained here as the original was: by the recipe of a shipped one.
    """
    shipped = shipped_retrained(config)

    def build(folder: Path) -> None:
        if shipped:
            load_weights(new_model(config), shipped)
            shutil.copyfile(shipped, folder / "weights.safetensors")
        else:
            _build_pretrained(retraining(config), dataset, context, folder, without_forget=True)

    material = retrained_material(config, dataset, context)
    return build_once(context.cache, "retrained", material, build)


def _build_pretrained(
    config: TrialConfig,
    dataset: Dataset,
    context: Context,
    folder: Path,
    *,
    without_forget: bool = False,
) -> None:
    label = f"pretraining {config.model}" + " without the forget classes" * without_forget
    losses: list[float] = []

    def on_step(step: int, terms: Terms) -> None:
        losses.append(float(terms.total.detach()))
        context.report_steps(label, len(losses), config.pretrain.steps)

    model = new_model(config).to(context.device)
    pretrain(model, config, dataset, on_step, without_forget=without_forget)
    save_weights(model, folder / "weights.safetensors")
    write_json(folder / "losses.json", losses)


def pretrain(
    model: CompletionModel,
    config: TrialConfig,
    dataset: Dataset,
    on_step: Callable[[int, Terms], None],
    *,
    without_forget: bool = False,
) -> None:
    """Trains a fresh model in place, stage by stage.

    Args:
        model: with its initial weights.
        config: gives the options and what is learnt.
        dataset: its training images of all roles.
        on_step: called after every step with (steps done of its stage, terms).
        without_forget: leave out the training images of the forget classes.

    Raises:
        NonFiniteError: a loss or gradient is NaN or infinite.
    """
    options = config.pretrain
    rows = dataset.rows("all", "train")
    if without_forget:
        rows = np.setdiff1d(rows, dataset.rows("forget", "train"))
    pool = Pool(rows, options.batch_size, False, "all")
    source = TurnedViews(dataset, options.seed) if options.augment else dataset
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


def load_base(config: TrialConfig, base: Path, context: Context) -> CompletionModel:
    """The original, in evaluation mode on the context's device."""
    model = new_model(config)
    load_built(model, base)
    return model.eval().to(context.device)


def load_built(model: torch.nn.Module, folder: Path) -> None:
    """Reads what a finished stage holds.

    Raises:
        CheckpointError: the folder was altered, and how that is mended.
    """
    try:
        load_weights(model, folder / "weights.safetensors")
    except CheckpointError as error:
        raise CheckpointError(f"{error}; remove {folder}, and it is built anew") from None
