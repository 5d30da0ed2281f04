"""Files of weights that a plan names: looked at before a sweep decodes its images."""

from __future__ import annotations

from platform.plan.plan import Plan
from trainables.config import TrialConfig, to_dict
from trainables.utils.hashing import content_key


def check_all(plan: Plan) -> None:
    """Reads the published originals, and finds the weights of the networks that measure.

    The latter are downloaded where they are neither given nor kept.

    Raises:
        CheckpointError: a file that is refused, or weights that cannot be had, in one line.
    """
    originals: dict[str, TrialConfig] = {}
    networks: dict[str, TrialConfig] = {}
    for trial in plan.trials:
        config = trial.config
        if config.checkpoint:
            named = [config.model, config.data.image_size, *config.checkpoint]
            originals.setdefault(content_key(named), config)
        if config.networks.weights():
            networks.setdefault(content_key(to_dict(config.networks.canonical())), config)
    # torch is imported only here: a sweep of neither leaves it to its workers
    if originals:
        from trainables.shared.base_models import check_checkpoint

        for config in originals.values():
            check_checkpoint(config)
    if networks:
        from trainables.evaluation.pretrained_weights import find_weights

        for config in networks.values():
            find_weights(config.networks, plan.cache)
