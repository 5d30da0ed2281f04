"""The weights of the networks that measure: looked for before a sweep decodes its images."""

from __future__ import annotations

from platform.plan import Plan
from trainables.config import NetworksConfig, content_key, to_dict


def find_all(plan: Plan) -> None:
    """Finds them for every trial of a plan, and downloads those that are neither given nor kept.

    Raises:
        CheckpointError: weights that cannot be had, in one line.
    """
    wanted: dict[str, NetworksConfig] = {}
    for trial in plan.trials:
        networks = trial.config.networks
        if networks.weights():
            wanted.setdefault(content_key(to_dict(networks.canonical())), networks)
    if wanted:
        # imports torch, which a sweep by the domain CNN leaves to its workers
        from trainables.networks import find_weights

        for networks in wanted.values():
            find_weights(networks, plan.cache)
