"""Gathers everything a trial starts from, built now unless the cache holds it.

The work that trials share lies in folders named by a hash of everything that can change it
(configuration, data, source code): a later sweep finds it, and a change anywhere makes it anew.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from torch import Tensor, nn

from trainables.config import NetworksConfig, TrialConfig
from trainables.evaluation.evaluate import Evaluator
from trainables.evaluation.extractors import Extractor, domain_network, extractor_folder
from trainables.evaluation.networks import Networks
from trainables.evaluation.pretrained_weights import Weights, find_weights, load_networks
from trainables.models import CompletionModel
from trainables.shared.base_models import base_model, load_base, load_built, retrained_model
from trainables.shared.references import Reference, reference
from trainables.shared.tokens import CachedTokens, kept_tokens
from trainables.training.context import Context, TrialSetup, load_setup


@dataclass(frozen=True)
class Prepared:
    """Everything a trial starts from.

    Attributes:
        setup: the trial, its images and its surroundings.
        base: folder of the original model.
        extractor: what measures, in evaluation mode on the context's device.
        weights: files of the paper's networks in it.
        reference: real images and the original, measured.
        tokens: of the training images, where the trial reads these in place of the images.
        noise: inputs of noise images that the trial draws from, by name; empty for new ones.
        retrained: folder of the model that never met the forget classes, where the trial is its.
    """

    setup: TrialSetup
    base: Path
    extractor: Extractor
    weights: Mapping[str, Weights]
    reference: Reference
    tokens: CachedTokens | None = None
    noise: Mapping[str, Tensor] = field(default_factory=dict)
    retrained: Path | None = None

    @property
    def evaluator(self) -> Evaluator:
        """Measures completions against the real images."""
        return Evaluator(self.setup, self.extractor, self.reference.real)


def prepare(config: TrialConfig, context: Context) -> Prepared:
    """Builds, or finds, all that trials share. Slow only where a piece of it is absent."""
    # first: what is wrong with a file of weights is told before any work
    weights = find_weights(config.networks, context.cache)
    published = _networks(config.networks, tuple(weights.items()))
    setup = load_setup(config, context)
    extractor = load_extractor(setup, published)
    base = base_model(setup)
    compared = reference(setup, base, extractor, weights)
    tokens, noise = kept_tokens(setup, base)
    retrained = retrained_model(setup) if config.method == "retrained" else None
    return Prepared(setup, base, extractor, weights, compared, tokens, noise, retrained)


def load_models(prepared: Prepared) -> tuple[CompletionModel, CompletionModel]:
    """Returns the model that a trial begins with, and the frozen original it is compared with."""
    original = load_base(prepared.setup, prepared.base)
    teacher = copy.deepcopy(original).requires_grad_(False)
    if prepared.retrained is None:
        return original, teacher
    return load_base(prepared.setup, prepared.retrained), teacher


@functools.lru_cache(maxsize=1)
def _networks(
    config: NetworksConfig, weights: tuple[tuple[str, Weights], ...]
) -> dict[str, nn.Module]:
    """Reads the paper's networks, once for all trials of a process: CLIP's are gigabytes."""
    return load_networks(config, dict(weights))


def load_extractor(
    setup: TrialSetup, published: Mapping[str, nn.Module] = MappingProxyType({})
) -> Extractor:
    """Returns what measures: the domain CNN, trained on the training images' classes, or others.

    Args:
        setup: says by which networks, and gives the domain CNN's images.
        published: the paper's networks that the configuration asks for.
    """
    config, device = setup.config, setup.context.device
    parts = config.networks.parts()
    networks = dict(published)
    if "domain" in parts.values():
        domain = domain_network(setup)
        load_built(domain, extractor_folder(setup))
        if not published:
            return domain.eval().to(device)
        networks["domain"] = domain
    return Networks(networks, parts, config.networks.batch_size).eval().to(device)


def check_networks(config: TrialConfig, context: Context) -> None:
    """Finds and reads the weights of the paper's networks, to tell of their faults before any work.

    Raises:
        CheckpointError: weights that are absent or refused, in one line.
    """
    load_networks(config.networks, find_weights(config.networks, context.cache))
