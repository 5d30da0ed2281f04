"""Files of weights that a plan names: looked at before a sweep decodes its images."""

from __future__ import annotations

from platform.plan.plan import Plan
from trainables.shared.keys import shared_work


def check_all(plan: Plan) -> None:
    """Reads the published originals, and finds the weights of the networks that measure.

    The latter are downloaded where they are neither given nor kept.

    Raises:
        CheckpointError: a file that is refused, or weights that cannot be had, in one line.
    """
    work = shared_work(trial.config for trial in plan.trials)
    originals = [config for config in work["base"] if config.checkpoint]
    # torch is imported only here: a sweep of neither leaves it to its workers
    if originals:
        from trainables.shared.base_models import check_checkpoint

        for config in originals:
            check_checkpoint(config)
    if work["networks"]:
        from trainables.evaluation.pretrained_weights import find_weights

        for config in work["networks"]:
            find_weights(config.networks, plan.cache)
