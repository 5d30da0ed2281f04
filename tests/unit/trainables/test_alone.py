"""The science runs where Ray, MLflow, Optuna and the machine room are absent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.tiny import files, tiny
from trainables.config import to_dict

# run by another Python, whose imports are refused by name before anything else is imported
PROGRAM = '''
import importlib
import json
import sys
from pathlib import Path

REFUSED = ("ray", "mlflow", "optuna", "search_spaces", "analysis")


class Refuse:
    """Refuses the machinery, and of `platform` all but the standard library's module."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in REFUSED or name.startswith("platform."):
            raise ImportError(f"{name} is refused")
        return None


sys.meta_path.insert(0, Refuse())
for name in (*REFUSED, "ray.tune", "platform.execution.tune", "platform.tracking.recorder"):
    try:
        importlib.import_module(name)
    except ImportError as error:
        assert "is refused" in str(error), error
    else:
        raise SystemExit(f"{name} was imported")

import platform

assert platform.system()

from trainables.training.context import Context
from trainables.config.overrides import from_dict
from trainables.trial import run_trial

root = Path(sys.argv[1])
config = from_dict(json.loads(sys.argv[2]))
result = run_trial(config, Context(folder=root / "trial", cache=root / "cache"))
loaded = sorted(n for n in sys.modules if n.split(".")[0] in REFUSED or n.startswith("platform."))
print(json.dumps({"loaded": loaded, "key": result["trial_key"]}))
'''


@pytest.mark.parametrize("method", ["ours"])
def test_a_whole_trial_runs_without_the_machinery(method: str, tmp_path: Path) -> None:
    config = tiny(method=method)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(tmp_path), json.dumps(to_dict(config))],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"loaded": [], "key": config.key()}
    assert {"result.json", "weights.safetensors", "tsne.pdf"} <= files(tmp_path / "trial")
