"""Every import rule is broken once, in a small tree of the project's shape."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each allowed import is taken once, so that a rule that forbids too much shows up as well.
TREE = {
    "platform/__init__.py": "",
    "platform/sweep.py": "import platform.runner, search_spaces, trainables.trial",
    "platform/runner.py": "import ray\nfrom ray import tune\nimport platform.launch",
    "platform/launch.py": "import ray.train\nfrom trainables import trial",
    "platform/tracking.py": "import mlflow",
    "platform/ledger.py": "import optuna",
    "platform/cluster.py": "import ray\nray.init",
    "trainables/__init__.py": "",
    "trainables/errors.py": "",
    "trainables/parallel.py": "",
    "trainables/mirror.py": "import trainables.errors",
    "trainables/sealed.py": "",
    "trainables/sections/__init__.py": "import trainables.errors",
    "trainables/config.py": "import trainables.sections",
    "trainables/shipped/__init__.py": "import trainables.config, trainables.data.splits",
    "trainables/base_models.py": "import trainables.shipped, trainables.training",
    "trainables/originals.py": "import trainables.stages",
    "trainables/data/splits.py": "",
    "trainables/overrides.py": "import trainables.config",
    "trainables/trial.py": "import trainables.artifacts, trainables.stages, trainables.config",
    "trainables/artifacts.py": "import trainables.stages, trainables.metrics",
    "trainables/stages.py": "import trainables.evaluation, trainables.tokens",
    "trainables/tokens.py": "import trainables.base_models",
    "trainables/domain_network.py": "import trainables.context, trainables.metrics",
    "trainables/context.py": "import trainables.training",
    "trainables/evaluation.py": "import trainables.models.base",
    "trainables/figures.py": "",
    "trainables/networks.py": "import trainables.metrics, trainables.checkpoints",
    "trainables/training.py": "import trainables.batches, trainables.optimisation",
    "trainables/batches.py": "import trainables.loader, trainables.data",
    "trainables/optimisation.py": "import trainables.methods, trainables.models",
    "trainables/snapshots.py": "import trainables.checkpoints",
    "trainables/checkpoints.py": "import trainables.config",
    "trainables/loader.py": "import trainables.config",
    "trainables/methods/__init__.py": "import trainables.methods.ours",
    "trainables/methods/ours.py": "import trainables.models.base, trainables.data.noise",
    "trainables/models/__init__.py": "import trainables.models.mae",
    "trainables/models/base.py": "import trainables.config",
    "trainables/models/mae.py": "import trainables.data.masks, trainables.data.noise",
    "trainables/data/__init__.py": "import trainables.data.photos",
    "trainables/data/noise.py": "",
    "trainables/data/masks.py": "import trainables.config, trainables.data.noise",
    "trainables/data/photos.py": "",
    "trainables/metrics/__init__.py": "",
    "search_spaces/__init__.py": "",
    "search_spaces/first.py": "import optuna\nfrom trainables.config import TrialConfig",
    "analysis/__init__.py": "",
    "analysis/report.py": "import pyarrow\nfrom platform.tracking import read",
    "benchmarks/__init__.py": "",
    "benchmarks/first.py": "import trainables.training, trainables.stages",
}

BENCHMARKS = "The benchmarks know the science alone"
UNKNOWN = "Nothing knows the benchmarks"
SCIENCE = "The science knows no machinery"
ANALYSIS = "The analysis knows the record, and nothing else of ours"
SPACES = "Search spaces know a trial's configuration, and no machinery"
LAYERS = "A trial's layers"
METHODS = "Methods know models only through models.base"
TUNE = "Only platform.runner imports ray.tune"
TRAIN = "Only platform.launch imports ray.train"
RECORD = "Only platform.tracking imports mlflow"

VIOLATIONS = [
    ("trainables/config.py", "import ray", SCIENCE),
    ("trainables/data/__init__.py", "from optuna import trial", SCIENCE),
    ("trainables/metrics/__init__.py", "import mlflow", SCIENCE),
    ("trainables/training.py", "import platform.cluster", SCIENCE),
    ("trainables/trial.py", "from search_spaces import first", SCIENCE),
    ("trainables/trial.py", "import analysis.report", SCIENCE),
    ("benchmarks/first.py", "import ray", BENCHMARKS),
    ("benchmarks/first.py", "from platform import plan", BENCHMARKS),
    ("benchmarks/__init__.py", "import search_spaces.first", BENCHMARKS),
    ("trainables/training.py", "import benchmarks.first", UNKNOWN),
    ("platform/sweep.py", "from benchmarks import first", UNKNOWN),
    ("platform/ledger.py", "import analysis", "The machine room does not know the analysis"),
    ("analysis/report.py", "from platform import ledger", ANALYSIS),
    ("analysis/report.py", "import mlflow", ANALYSIS),
    ("analysis/__init__.py", "import trainables.trial", ANALYSIS),
    ("search_spaces/first.py", "from trainables import training", SPACES),
    ("search_spaces/first.py", "import torch", SPACES),
    ("search_spaces/__init__.py", "import platform.ledger", SPACES),
    ("trainables/training.py", "import trainables.trial", LAYERS),
    ("trainables/config.py", "import trainables.data", LAYERS),
    ("trainables/metrics/__init__.py", "import trainables.models", LAYERS),
    ("trainables/models/mae.py", "import trainables.data.photos", LAYERS),
    ("trainables/methods/ours.py", "import trainables.data", LAYERS),
    ("trainables/utils.py", "", LAYERS),
    ("trainables/methods/ours.py", "from trainables.models import mae", METHODS),
    ("trainables/methods/ours.py", "import trainables.models", METHODS),
    ("platform/launch.py", "from ray import (\n    tune,\n)", TUNE),
    ("platform/cluster.py", "def f():\n    import ray.tune.search", TUNE),
    ("platform/cluster.py", "ray.train.report", TRAIN),
    ("platform/runner.py", "from ray.train import torch", TRAIN),
    ("platform/sweep.py", "import mlflow.tracking", RECORD),
]


@pytest.fixture
def tree(tmp_path):
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    for name in ("pyproject.toml", "scripts/lint_imports.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((ROOT / name).read_bytes())
    return tmp_path


def lint(folder: Path) -> tuple[int, dict[str, str]]:
    """Returns the exit status and, by contract name, KEPT or BROKEN."""
    done = subprocess.run(
        [sys.executable, "scripts/lint_imports.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    verdicts = dict(re.findall(r"^(.+) (KEPT|BROKEN)", done.stdout, flags=re.MULTILINE))
    assert verdicts, done.stdout + done.stderr
    return done.returncode, verdicts


def test_allowed_imports_keep_every_contract(tree):
    status, verdicts = lint(tree)
    assert set(verdicts.values()) == {"KEPT"}, verdicts
    assert status == 0


@pytest.mark.parametrize(("path", "planted", "contract"), VIOLATIONS)
def test_planted_violation_is_found(tree, path, planted, contract):
    with (tree / path).open("a") as file:
        file.write(f"{planted}\n")
    status, verdicts = lint(tree)
    assert verdicts[contract] == "BROKEN"
    assert status == 1


def test_every_contract_is_broken_by_some_violation(tree):
    _, verdicts = lint(tree)
    assert {contract for *_, contract in VIOLATIONS} == set(verdicts)
