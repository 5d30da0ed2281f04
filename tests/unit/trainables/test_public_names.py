"""The names that other programs import, exactly as the pages say."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "statement",
    [
        "from trainables.models import build_model, load_published, CheckpointError",
        "from trainables.methods import METHODS",
        "from trainables.metrics import frechet_distance, inception_score",
        "from trainables.config import TrialConfig",
        "from trainables.trial import run_trial",
    ],
)
def test_a_public_name_is_imported_alone(statement: str) -> None:
    done = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
