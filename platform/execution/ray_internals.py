"""Names each thing of Ray's that is no public interface, with the reason why it is used.

Nothing else in the project relies on what Ray may change without notice. The tests of this module
say which of them a new version of Ray has changed.
"""

from __future__ import annotations

import logging
import re
from typing import Any

# They print Ray's own traceback of each trial that fails, where the progress has a line. Their
# parent, `ray.tune`, also tells of what nobody else does.
TRIAL_LOGGERS = ("ray.tune.execution.tune_controller", "ray.tune.tune")
# It complains of a full disk, on which Tune cannot save what nothing is ever resumed from.
SNAPSHOT_LOGGER = "ray.tune.execution.experiment_state"
# Ray sets it in the driver of a submitted job alone; its public context exists only once it has
# been joined, and how it is joined depends on this.
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
# Ray raises the same class of error for a wrong token as for an absent cluster.
_ABOUT_TOKENS = re.compile(r"[Aa]uthenticat|[Tt]oken|\b40[13]\b")


def silence(*loggers: str) -> None:
    """Lets none of a logger's messages through in this process."""
    for name in loggers:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def is_about_tokens(text: str) -> bool:
    """Reports whether Ray refuses a cluster's token in this text."""
    return _ABOUT_TOKENS.search(text) is not None


def error_of(trial: Any) -> BaseException | None:
    """Returns what a trial's process died of; None where Tune knows no exception.

    Tune tells its callbacks that a trial failed, and not why: the exception is in its own files
    alone until the whole experiment has ended.

    Args:
        trial: Tune's own.
    """
    error = trial.get_pickled_error()
    return error if isinstance(error, BaseException) else None
