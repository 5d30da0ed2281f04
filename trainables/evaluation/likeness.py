"""Measures how alike the classes of a data set are: `python -m trainables.evaluation.likeness`.

Prints the Frechet distance of every two classes by the domain CNN, each from as many validation and
test images, and beside it the class that is nearest by the mean of its raw pixels. A forget class
should be far from those to retain; a proxy class near to one of them.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainables.config import TrialConfig
from trainables.config.overrides import apply_overrides, parse_value
from trainables.data.splits import ROLES, class_roles
from trainables.evaluation.extractors import domain_network, extractor_folder
from trainables.metrics import frechet_distance
from trainables.models.checkpoints import load_weights
from trainables.training.context import Context, TrialSetup, load_setup
from trainables.utils.errors import ConfigError, UserError
from trainables.utils.threads import torch_threads

Images = Mapping[str, NDArray[np.float32]]
_NEAREST = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0, or 2 where the data cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m trainables.evaluation.likeness", description=__doc__
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="as a sweep"
    )
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"), help="of the images")
    options = parser.parse_args(arguments)
    logging.getLogger("trainables").addHandler(logging.NullHandler())
    try:
        pairs = [text.partition("=")[::2] for text in options.set]
        values = {name: parse_value(name, value) for name, value in pairs}
        setup = load_setup(apply_overrides(TrialConfig(), values), Context(cache=options.cache))
        lines = describe(setup)
    except (UserError, OSError) as error:
        problems = error.problems if isinstance(error, ConfigError) else [str(error)]
        sys.stderr.write("".join(f"error: {line}\n" for line in problems))
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def describe(setup: TrialSetup) -> list[str]:
    """Returns a Markdown table of the classes' distances, and what they mean for the roles."""
    embedded, pixels = _measured(setup)
    names = list(embedded)
    pairs = [*itertools.combinations(names, 2)]
    features = {pair: frechet_distance(*(embedded[name] for name in pair)) for pair in pairs}
    raw = {pair: _pixel_distance(*(pixels[name] for name in pair)) for pair in pairs}
    by_cnn, by_pixels = (
        {**each, **{pair[::-1]: value for pair, value in each.items()}} for each in (features, raw)
    )
    lines = [f"| | {' | '.join(names)} | nearest by pixels |", f"|---{'|---:' * len(names)}|---|"]
    for name in names:
        found = [f"{by_cnn[name, other]:.0f}" if other != name else "" for other in names]
        near = sorted((by_pixels[name, other], other) for other in names if other != name)
        told = ", ".join(f"{other} {value:.2f}" for value, other in near[:_NEAREST])
        lines.append(f"| {name} | {' | '.join(found)} | {told} |")
    roles = class_roles(setup.config.data)
    return [
        *(*lines, ""),
        f"by the domain CNN: {_of_roles(by_cnn, roles)}",
        f"by pixels: {_of_roles(by_pixels, roles)}",
    ]


def _of_roles(apart: Mapping[tuple[str, str], float], roles: Mapping[str, str]) -> str:
    """Says how far the classes to forget are from the others, and those to retain from proxies."""
    named = {role: [name for name in roles if roles[name] == role] for role in ROLES}
    told = []
    for role in ("retain", "proxy"):
        between = [(apart[pair], *pair) for pair in itertools.product(named["forget"], named[role])]
        if between:
            least, *pair = min(between)
            told.append(f"forget to {role} at least {least:.3g} ({', '.join(pair)})")
    if named["proxy"]:
        near = [min(apart[name, proxy] for proxy in named["proxy"]) for name in named["retain"]]
        told.append(f"retain to its nearest proxy {np.mean(near):.3g} in the mean")
    return "; ".join(told)


def _measured(setup: TrialSetup) -> tuple[Images, Images]:
    """Returns embeddings `(N, E)` and pixels `(N, P)` of the images that no network is trained on.

    The numbers of images are equal, for a distance depends on them.
    """
    dataset = setup.dataset
    rows = np.concatenate([dataset.rows("all", split) for split in ("val", "test")])
    labels = dataset.labels(rows).numpy()
    least = int(np.bincount(labels).min())
    network = domain_network(setup)
    load_weights(network, extractor_folder(setup) / "weights.safetensors")
    embedded, pixels = {}, {}
    for label, name in enumerate(dataset.classes):
        images = dataset.images(rows[labels == label][:least])
        with torch_threads(1):
            embedded[name] = network.eval().extract(images).embeddings.numpy()
        pixels[name] = images.flatten(1).numpy()
    return embedded, pixels


def _pixel_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Returns the root mean square difference of two classes' mean images, in [0, 1]."""
    return float(np.sqrt(np.square(one.mean(axis=0) - other.mean(axis=0)).mean()))


if __name__ == "__main__":
    sys.exit(main())
