"""Makes the original models that come with the product: `python -m trainables.originals MODEL`.

Slow on purpose: a longer training than a sweep gives an original of its own. It writes the weights,
the record of how they were made and what they score, and a picture of their completions.
With `--without-forget` it does so for a model that never meets the forget classes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.artifacts import sample_columns, sampled_rows
from trainables.config import TrialConfig, to_dict
from trainables.evaluation import figures
from trainables.evaluation.evaluate import Evaluator, extract_real
from trainables.methods import Terms
from trainables.models import CompletionModel
from trainables.models.checkpoints import load_weights, save_weights
from trainables.shared.prepare import load_extractor
from trainables.shared.pretraining import new_model, pretrain
from trainables.shared.references import measure_original
from trainables.shipped import FOLDER, RECIPES, recipe
from trainables.training.context import Context, TrialSetup, load_setup
from trainables.utils.errors import UserError
from trainables.utils.files import make_folder, write_text

_TELL_EVERY_S = 15.0
_SNAPSHOT_EVERY = 1000
_FIRST = 5  # losses of each stage that a retraining is held against
_PICTURED = 6


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit status 0, or 2 for the user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m trainables.originals", description=__doc__)
    parser.add_argument("model", choices=sorted(RECIPES))
    parser.add_argument(
        "--out",
        type=Path,
        default=FOLDER,
        help="where to write; the package, over what came with it",
    )
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="of the images")
    parser.add_argument(
        "--measure-only", action="store_true", help="record and picture of the weights in --out"
    )
    parser.add_argument(
        "--without-forget",
        action="store_true",
        help="train on retain and proxy images alone: MODEL_retrained",
    )
    options = parser.parse_args(arguments)
    try:
        make_folder(options.out)
        make(
            recipe(options.model),
            options.out,
            options.cache,
            train=not options.measure_only,
            without_forget=options.without_forget,
        )
    except (UserError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def make(
    config: TrialConfig,
    out: Path,
    cache: Path,
    *,
    train: bool = True,
    without_forget: bool = False,
) -> None:
    """Trains an original and writes its weights, its record and its picture.

    Args:
        config: the recipe.
        out: folder of `MODEL.safetensors`, `MODEL.json` and `MODEL.png`.
        cache: of the images and of what measures them.
        train: False reads the weights that are there and their training from the record.
        without_forget: train on the retain and proxy images alone; files of `MODEL_retrained`.
    """
    name = f"{config.model}_retrained" if without_forget else str(config.model)
    weights, record = out / f"{name}.safetensors", out / f"{name}.json"
    setup = load_setup(config, Context(cache=cache))
    model = new_model(config, setup.grey)
    if train:
        trained = _train(model, setup, weights, without_forget=without_forget)
    else:
        load_weights(model, weights)
        trained = json.loads(record.read_text())["training"]
    model.eval()
    title = f"{config.model} " + ("without forget classes" if without_forget else "as it comes")
    _picture(model, setup, out / f"{name}.png", title=title)
    extractor = load_extractor(setup)
    evaluator = Evaluator(setup, extractor, extract_real(extractor, setup))
    option = " --without-forget" * without_forget
    told = {
        "command": f"python -m trainables.originals {config.model}{option}",
        "recipe": {
            "model": config.model,
            "data": to_dict(config.data),
            "pretrain": to_dict(config.pretrain),
            "tasks": [to_dict(task) for task in config.pretraining_tasks()],
        },
        "data": setup.dataset.fingerprint,
        "training": trained,
        "metrics": measure_original(model, evaluator)[0],
        "measured_by": f"{config.data.source} CNN",
    }
    write_text(record, json.dumps(told, indent=1) + "\n")


def _train(
    model: CompletionModel, setup: TrialSetup, weights: Path, *, without_forget: bool
) -> dict[str, Any]:
    """Trains, and tells how it goes; a snapshot now and then shows what a stopped run had.

    It lies beside the weights: trials must not take what is half trained for the whole.
    """
    config = setup.config
    snapshot = weights.with_suffix(".snapshot")
    losses: list[float] = []
    first: list[list[float]] = []
    start, told = time.monotonic(), 0.0

    def on_step(step: int, terms: Terms) -> None:
        nonlocal told
        losses.append(float(terms.total.detach()))
        if step == 1:
            first.append([])
        if step <= _FIRST:
            first[-1].append(losses[-1])
        if len(losses) % _SNAPSHOT_EVERY == 0:
            save_weights(model, snapshot)
        spent = time.monotonic() - start
        if spent - told > _TELL_EVERY_S:
            told = spent
            left = spent / len(losses) * (config.pretrain.steps - len(losses))
            mean = float(np.mean(losses[-100:]))
            sys.stdout.write(
                f"{config.model} step {len(losses)} of {config.pretrain.steps}, "
                f"loss {mean:.4f}, about {left / 60:.0f} min left\n"
            )
            sys.stdout.flush()

    pretrain(model, setup, on_step, without_forget=without_forget)
    save_weights(model, weights)
    snapshot.unlink(missing_ok=True)
    return {
        "first_losses": first,
        "last_loss": float(np.mean(losses[-100:])),
        "minutes": round((time.monotonic() - start) / 60, 1),
        "torch": str(torch.__version__),
    }


def _picture(model: CompletionModel, setup: TrialSetup, path: Path, *, title: str) -> None:
    """Draws completions of some test images of both roles, a row an image."""
    rows, roles = sampled_rows(setup.dataset, _PICTURED)
    columns = sample_columns({"completion": model}, setup, rows)
    options = setup.config.pretrain
    told = f"{options.steps} steps of {options.batch_size} images"
    figures.sample_grid(path, columns, roles, title=title, subtitle=told)


if __name__ == "__main__":
    sys.exit(main())
