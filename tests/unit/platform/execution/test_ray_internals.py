"""What the project uses of Ray's insides is as it was; a failure says what Ray has changed."""

from __future__ import annotations

import importlib
import inspect
import logging
from types import SimpleNamespace

import pytest
from ray._private.authentication import authentication_constants
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray.tune.experiment import Trial

from platform.execution import ray_internals
from platform.execution.ray_internals import JOB_VARIABLE, SNAPSHOT_LOGGER, TRIAL_LOGGERS


@pytest.mark.parametrize("name", [*TRIAL_LOGGERS, SNAPSHOT_LOGGER])
def test_ray_still_logs_by_these_names(name: str) -> None:
    found = getattr(importlib.import_module(name), "logger", None)
    assert found is logging.getLogger(name), (
        f"Ray has no logger {name} any more: silence its new one"
    )


def test_a_silenced_logger_lets_nothing_through() -> None:
    ray_internals.silence("ray.test.silenced")
    assert not logging.getLogger("ray.test.silenced").isEnabledFor(logging.ERROR)


def test_ray_still_names_the_variable_of_a_submitted_job_so() -> None:
    assert RAY_JOB_CONFIG_JSON_ENV_VAR == JOB_VARIABLE, "Ray names its job's variable anew"


def test_tune_still_keeps_the_error_of_a_trial() -> None:
    changed = "Tune's Trial has no get_pickled_error() any more: find where a trial's error is kept"
    method = getattr(Trial, "get_pickled_error", None)
    assert method is not None, changed
    assert list(inspect.signature(method).parameters) == ["self"], changed


def test_the_error_of_a_trial_is_an_exception_or_none() -> None:
    lost = RuntimeError("lost")
    assert ray_internals.error_of(SimpleNamespace(get_pickled_error=lambda: lost)) is lost
    assert ray_internals.error_of(SimpleNamespace(get_pickled_error=lambda: None)) is None


def test_ray_still_says_token_where_it_refuses_one() -> None:
    for name in ("TOKEN_AUTH_ENABLED_BUT_NO_TOKEN_FOUND", "TOKEN_INVALID"):
        text = getattr(authentication_constants, f"{name}_ERROR_MESSAGE")
        assert ray_internals.is_about_tokens(text), f"Ray words a refused token anew: {text}"
    assert not ray_internals.is_about_tokens("Failed to connect to GCS at 10.0.0.1:6379")
