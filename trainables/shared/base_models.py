"""Original models as files: published or shipped weights, or pretrained here; made once.

So are the models that never met the forget classes, of the method `retrained`.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import torch

from trainables.config import TrialConfig
from trainables.methods import Terms
from trainables.models import CompletionModel, build_model
from trainables.models.checkpoints import load_original, load_weights, save_weights
from trainables.shared.identity import base_material, retrained_material
from trainables.shared.pretraining import new_model, pretrain
from trainables.shipped import retraining, shipped_retrained, shipped_weights
from trainables.training.context import TrialSetup
from trainables.utils.cache import build_once
from trainables.utils.errors import CheckpointError
from trainables.utils.files import write_json

_WEIGHTS = "weights.safetensors"


def check_checkpoint(config: TrialConfig) -> None:
    """Refuses published files that do not hold the trial's original, without building it.

    Raises:
        CheckpointError: as `load_original`.
    """
    with torch.device("meta"):
        model = build_model(config.model, image_size=config.data.image_size)
    load_original(model, config.checkpoint)


def base_model(setup: TrialSetup) -> Path:
    """Builds or finds the original: published or shipped weights, or a pretraining.

    Returns:
        The folder that holds it.
    """
    config = setup.config
    shipped = shipped_weights(config)

    def build(folder: Path) -> None:
        if config.checkpoint:
            model = new_model(config)
            load_original(model, config.checkpoint)
            save_weights(model, folder / _WEIGHTS)
        elif shipped:
            _copy_shipped(config, shipped, folder)
        else:
            _build_pretrained(setup, folder)

    return build_once(setup.context.cache, "base", base_material(setup), build)


def retrained_model(setup: TrialSetup) -> Path:
    """Builds or finds a model like the original that never met the forget classes.

    It is shipped, or pretrained here as the original was: by the recipe of a shipped one.

    Returns:
        The folder that holds it.
    """
    shipped = shipped_retrained(setup.config)

    def build(folder: Path) -> None:
        if shipped:
            _copy_shipped(setup.config, shipped, folder)
        else:
            as_original = dataclasses.replace(setup, config=retraining(setup.config))
            _build_pretrained(as_original, folder, without_forget=True)

    return build_once(setup.context.cache, "retrained", retrained_material(setup), build)


def _copy_shipped(config: TrialConfig, shipped: Path, folder: Path) -> None:
    load_weights(new_model(config), shipped)  # refuses what is damaged
    shutil.copyfile(shipped, folder / _WEIGHTS)


def _build_pretrained(setup: TrialSetup, folder: Path, *, without_forget: bool = False) -> None:
    config, context = setup.config, setup.context
    label = f"pretraining {config.model}" + " without the forget classes" * without_forget
    losses: list[float] = []

    def on_step(step: int, terms: Terms) -> None:
        losses.append(float(terms.total.detach()))
        context.report_steps(label, len(losses), config.pretrain.steps)

    model = new_model(config, setup.grey).to(context.device)
    pretrain(model, setup, on_step, without_forget=without_forget)
    save_weights(model, folder / _WEIGHTS)
    write_json(folder / "losses.json", losses)


def load_base(setup: TrialSetup, base: Path) -> CompletionModel:
    """Returns the model of a folder, in evaluation mode on the context's device."""
    model = new_model(setup.config, setup.grey)
    load_built(model, base)
    return model.eval().to(setup.context.device)


def load_built(model: torch.nn.Module, folder: Path) -> None:
    """Reads the weights in a finished folder of the cache.

    Raises:
        CheckpointError: the folder was altered, and how that is mended.
    """
    try:
        load_weights(model, folder / _WEIGHTS)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; remove {folder}, and it is built anew") from None
